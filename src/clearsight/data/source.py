"""Where a data set's pictures are: files in a folder, or arrays in memory."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clearsight.core.errors import ImageError
from clearsight.core.nouns import ImageHWC
from clearsight.data.decode import Limits, decode

_DEFAULT = Limits()


class Source(Protocol):
    """Gives a picture by its name. Thread-safe; nothing is ever written."""

    @property
    def limits(self) -> Limits:
        """What one picture may cost."""

    def encoded(self, name: str) -> bytes:
        """Return the picture as an encoded file.

        Raises:
            ImageError: "unreadable" or "bytes".
        """

    def image(self, name: str) -> ImageHWC:
        """Return the picture decoded, (h, w, 3) uint8 RGB.

        Raises:
            ImageError: the picture cannot be used.
        """

    def digest(self, name: str) -> str:
        """Return the SHA-256 of the picture's content as hex digits.

        Raises:
            ImageError: "unreadable" or "bytes".
        """

    def size(self, name: str) -> int:
        """Return the content's size in bytes: pictures of different sizes are different."""


class FileSource:
    """Pictures as files below a folder; names are relative POSIX paths.

    Args:
        root: the folder.
        limits: how large a file may be.
    """

    def __init__(self, root: Path, limits: Limits = _DEFAULT) -> None:
        self.root, self.limits = root, limits
        self._digests: dict[str, str] = {}

    def encoded(self, name: str) -> bytes:
        """Return the file's bytes."""
        return read_file(os.path.join(self.root, name), self.limits)

    def image(self, name: str) -> ImageHWC:
        """Return the picture decoded, (h, w, 3) uint8 RGB."""
        return decode(self.encoded(name), self.limits)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of the file's bytes; read once."""
        if name not in self._digests:
            self._digests[name] = hashlib.sha256(self.encoded(name)).hexdigest()
        return self._digests[name]

    def size(self, name: str) -> int:
        """Return the file's size; -1 when it cannot be asked."""
        try:
            return os.stat(os.path.join(self.root, name)).st_size
        except OSError:
            return -1


class ArraySource:
    """Pictures as raw arrays; the name of picture 7 of the array "train" is "train/7".

    Args:
        arrays: (n, h, w) or (n, h, w, 3) uint8 by name.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
        self.arrays = dict(arrays)
        self.limits = _DEFAULT

    def locate(self, name: str) -> tuple[str, int]:
        """Split a picture's name into its array's name and the index in it."""
        array, _, index = name.rpartition("/")
        return array, int(index)

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """Return the raw picture, (h, w) or (h, w, 3)."""
        array, index = self.locate(name)
        picture: NDArray[np.uint8] = self.arrays[array][index]
        return picture

    def encoded(self, name: str) -> bytes:
        """Return the picture as a PNG."""
        stream = io.BytesIO()
        Image.fromarray(self.pixels(name)).save(stream, "PNG", compress_level=1)
        return stream.getvalue()

    def image(self, name: str) -> ImageHWC:
        """Return the picture, (h, w, 3) uint8 RGB."""
        pixels = self.pixels(name)
        return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels.copy()

    def digest(self, name: str) -> str:
        """Return the SHA-256 of the raw pixels."""
        return hashlib.sha256(self.pixels(name).tobytes()).hexdigest()

    def size(self, name: str) -> int:
        """Return the raw size in bytes."""
        return self.pixels(name).nbytes


def read_file(path: str | Path, limits: Limits = _DEFAULT) -> bytes:
    """Read a whole picture file.

    Raises:
        ImageError: "unreadable" (permission, I/O), or "bytes" when it is too large.
    """
    try:
        with open(path, "rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            content = stream.read() if size <= limits.max_bytes else b""
    except OSError as error:
        raise unreadable(error) from error
    if size > limits.max_bytes:
        raise ImageError("bytes", f"The file has more than {limits.max_bytes:,} bytes.")
    return content


def unreadable(error: OSError) -> ImageError:
    """Return the ImageError for a file that cannot be read."""
    reason = error.strerror or type(error).__name__
    return ImageError("unreadable", f"The file cannot be read: {reason}.")
