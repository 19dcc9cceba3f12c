"""IDX files, plain or gzipped: `train-images-idx3-ubyte(.gz)` beside `train-labels-idx1-ubyte`.

Source: the format description on the MNIST page of LeCun, Cortes and Burges.
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import DataError
from clearsight.data.listing import Listing, Part, Row, Skipped
from clearsight.data.source import ArraySource

_NAME = re.compile(
    r"(train|t10k|test|val|valid|validation)-(images|labels)[.-]idx([134])-ubyte(\.gz)?"
)
_PARTS: dict[str, Part] = {
    "train": "train",
    "t10k": "test",
    "test": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
_MAX_DEFLATE_RATIO = 1032  # no more comes out of a byte of a gzip file


class Idx:
    """Reads the arrays into memory; the class of label 7 is called "7"."""

    def sniff(self, path: Path) -> bool:
        """Return whether the folder holds an IDX file of pictures."""
        matches = [_NAME.fullmatch(name) for name in _files(path)]
        return any(match and match[2] == "images" for match in matches)

    def read(self, path: Path) -> Listing:
        """Read every pair of pictures and labels."""
        pairs, skipped = _pair(path)
        arrays: dict[str, NDArray[np.uint8]] = {}
        rows: list[Row] = []
        for part, (images_name, labels_name) in pairs.items():
            images, labels = read_idx(path / images_name), read_idx(path / labels_name)
            _check_pair(path / images_name, images, labels)
            key = images_name.removesuffix(".gz")
            arrays[key] = images
            names = [str(label) for label in range(256)]
            rows += [
                Row(f"{key}/{index}", (names[label],), part)
                for index, label in enumerate(labels.tolist())
            ]
        return Listing(path, tuple(rows), tuple(skipped), ArraySource(arrays))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Returns:
        uint8 array of the shape that the header declares.

    Raises:
        DataError: not IDX, another element type, or not as long as its header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            return _parse(path, stream)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error, struct.error) as error:
        text = getattr(error, "strerror", None) or error or type(error).__name__
        raise DataError(f"{path} cannot be read as IDX: {text}. Fetch the file again.") from error


def _parse(path: Path, stream: BinaryIO) -> NDArray[np.uint8]:
    zeros, kind, dimensions = struct.unpack(">HBB", stream.read(4))
    if zeros != 0 or kind != 8 or not 1 <= dimensions <= 4:
        raise DataError(
            f"{path} is no IDX file of unsigned bytes: it begins with "
            f"{zeros:04x} {kind:02x} {dimensions:02x}, expected 0000 08 and 01 to 04."
        )
    shape = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
    size = int(np.prod([int(side) for side in shape], dtype=object))
    ratio = _MAX_DEFLATE_RATIO if path.suffix == ".gz" else 1
    if size > path.stat().st_size * ratio:
        raise DataError(f"{path} declares {shape} = {size:,} bytes, which the file cannot hold.")
    array = np.empty(size, np.uint8)
    filled = 0
    while filled < size:
        got = stream.readinto(array.data[filled:])  # type: ignore[attr-defined]
        if not got:
            raise DataError(f"{path} ends after {filled:,} of {size:,} bytes. Fetch it again.")
        filled += got
    if stream.read(1):
        raise DataError(f"{path} holds more than the {size:,} bytes that its header declares.")
    return array.reshape(shape)


def _files(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_file())
    except OSError:
        return []


def _pair(path: Path) -> tuple[dict[Part, tuple[str, str]], list[Skipped]]:
    chosen: dict[tuple[Part, str], str] = {}
    skipped = []
    for name in sorted(os.listdir(path)):
        match = _NAME.fullmatch(name)
        if match is None:
            hidden = name.startswith(".")
            skipped.append(Skipped(name, "hidden" if hidden else "not an IDX file by its name"))
        elif (_PARTS[match[1]], match[2]) in chosen:
            other = chosen[_PARTS[match[1]], match[2]]
            skipped.append(Skipped(name, f"{other} already gives these"))
        else:
            chosen[_PARTS[match[1]], match[2]] = name
    pairs: dict[Part, tuple[str, str]] = {}
    for part in ("train", "val", "test"):
        images, labels = chosen.get((part, "images")), chosen.get((part, "labels"))
        if images and labels:
            pairs[part] = (images, labels)
        elif images or labels:
            missing = "labels" if images else "images"
            raise DataError(f"{path}: {images or labels} has no {missing} file beside it.")
    return pairs, skipped


def _check_pair(path: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    colour = images.ndim == 4 and images.shape[3] == 3
    if not (images.ndim == 3 or colour) or 0 in images.shape[1:3]:
        raise DataError(
            f"{path} has the shape {images.shape}; allowed are (n, height, width) "
            "and (n, height, width, 3)."
        )
    if labels.ndim != 1 or len(labels) != len(images):
        raise DataError(
            f"{path} holds {len(images):,} pictures, but its labels have the shape {labels.shape}."
        )
