"""Opens a .keras file without Keras: a ZIP with a JSON description and an HDF5 file of weights.

Nothing in it is run. Names, sizes and kinds of the members are checked before any is unpacked, and
the HDF5 file is read by pyfive, which is plain Python: a hostile file can make it fail, not more.
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.convert.packages import needed
from clearsight.core.errors import BundleError

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MEMBERS_AT_MOST = 16
SIZES_AT_MOST = {CONFIG: 32 * 1024 * 1024, METADATA: 1024 * 1024, WEIGHTS: 2**31 - 1}
EXPANSION_AT_MOST = 100
"""Keras stores members unpacked; one that grows more than this is a bomb."""
DEPTH_AT_MOST = 64
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
HDF5 = b"\x89HDF\r\n\x1a\n"
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class KerasFile:
    """What a .keras file says.

    Args:
        config: the description of the layers.
        weights: float32 arrays by their path in the HDF5 file.
        version: of the Keras that wrote it.
    """

    config: dict[str, Any]
    weights: dict[str, NDArray[np.float32]]
    version: str


def open_keras(content: bytes) -> KerasFile:
    """Read a .keras file.

    Raises:
        BundleError: damaged, or with members, names, links or sizes that no model has.
        MissingExtraError: pyfive is not installed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_members(archive.infolist())
            found = {item.filename: _unpacked(archive, item) for item in archive.infolist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise _damaged(f"its ZIP archive cannot be read: {error}") from error
    except RuntimeError as error:  # an encrypted member
        raise _damaged(str(error)) from error
    for name in (CONFIG, WEIGHTS):
        if name not in found:
            raise _damaged(f"it holds no {name}. Save the whole model with model.save()")
    config = _json(found[CONFIG], CONFIG)
    metadata = _json(found[METADATA], METADATA) if METADATA in found else {}
    version = str(metadata.get("keras_version", "unknown"))[:40]
    return KerasFile(config, read_weights(found[WEIGHTS]), version)


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MEMBERS_AT_MOST:
        raise _damaged(f"it holds {len(members)} members; a model has three")
    names = [item.filename for item in members]
    if len(set(names)) < len(names):
        raise _damaged("it names a member twice")
    for item in members:
        if item.filename not in SIZES_AT_MOST:
            raise _damaged(
                f"it holds {item.filename!r}; a model has {', '.join(SIZES_AT_MOST)} and nothing "
                "else"
            )
        mode = item.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise _damaged(f"{item.filename!r} is a link or a special file")
        if item.compress_type not in PACKINGS:
            raise _damaged(f"{item.filename!r} is packed in a way that Keras does not use")
        if item.file_size > SIZES_AT_MOST[item.filename]:
            raise _damaged(f"{item.filename!r} has {item.file_size:,} bytes")
        if item.file_size > EXPANSION_AT_MOST * max(1024, item.compress_size):
            raise _damaged(f"{item.filename!r} grows to {item.file_size:,} bytes when unpacked")


def _unpacked(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> bytes:
    with archive.open(item) as stream:
        content = stream.read(item.file_size + 1)
    if len(content) != item.file_size:
        raise _damaged(f"{item.filename!r} is longer or shorter than it says")
    return content


def _json(content: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(f"{name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _damaged(f"{name} holds no object")
    return found


def read_weights(content: bytes) -> dict[str, NDArray[np.float32]]:
    """Return every array of an HDF5 file by its path, without a slash in front.

    Raises:
        BundleError: it is damaged, or holds what Keras does not write: arrays of no numbers, links
            to other files, arrays larger than the file.
    """
    if content[:8] != HDF5:
        raise _damaged(f"{WEIGHTS} is no HDF5 file")
    pyfive = needed("pyfive", "Reading Keras models")
    found: dict[str, NDArray[np.float32]] = {}
    try:
        with pyfive.File(io.BytesIO(content)) as file:
            _collect(pyfive, file, "", found, len(content), 0)
    except BundleError:
        raise
    except Exception as error:  # pyfive has no exception type of its own
        raise _damaged(f"{WEIGHTS} cannot be read: {type(error).__name__}: {error}") from error
    return found


def _collect(
    pyfive: Any, group: Any, path: str, found: dict[str, Any], room: int, depth: int
) -> None:
    if depth > DEPTH_AT_MOST:
        raise _damaged(f"{WEIGHTS} nests groups deeper than {DEPTH_AT_MOST} levels")
    for name in list(group.keys()):
        item, place = group[name], f"{path}{name}"
        if isinstance(item, pyfive.Dataset):
            if np.dtype(item.dtype).kind == "f":  # counters and seeds are no weights
                found[place] = _array(item, place, room)
            if sum(array.nbytes for array in found.values()) > EXPANSION_AT_MOST * room:
                raise _damaged(f"{WEIGHTS} grows beyond all bounds when unpacked")
        elif isinstance(item, pyfive.Group):
            _collect(pyfive, item, f"{place}/", found, room, depth + 1)
        else:
            raise _damaged(f"{WEIGHTS} holds {place!r}, which is no array")


def _array(item: Any, place: str, room: int) -> NDArray[np.float32]:
    kind = np.dtype(item.dtype)
    if item.chunks is not None or item.compression is not None:
        raise _damaged(f"{WEIGHTS}: {place!r} is packed, as Keras does not write it")
    size = int(np.prod([int(side) for side in item.shape], dtype=object)) * kind.itemsize
    if size > EXPANSION_AT_MOST * room:
        raise _damaged(f"{WEIGHTS}: {place!r} claims {size:,} bytes")
    array = np.asarray(item[()], dtype=np.float32)
    if array.shape != tuple(item.shape):
        raise _damaged(f"{WEIGHTS}: {place!r} has another shape than it says")
    return array


def _damaged(what: str) -> BundleError:
    return BundleError(f"The Keras file is damaged or not safe: {what}. It is not imported.")
