"""The header gate: every file's first bytes are checked before any picture is decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clearsight.core.errors import ImageError, ImageReason
from clearsight.data.decode import Limits, check_limits
from clearsight.data.header import HeaderCutError, read_header
from clearsight.data.source import read_file, unreadable

HEAD_BYTES = 4096
PICTURE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff"),
        *("heic", "heif", "avif", "jxl", "jp2", "svg", "ico", "psd", "tga", "dcm"),
        *("raw", "cr2", "nef", "arw", "dng", "ppm", "pgm", "pbm"),
    )
)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A picture that cannot be used: left where it is, named here with the reason.

    Args:
        name: as in the data set.
        reason: a stable code, see `ImageReason`.
        detail: what was wrong, for a person.
    """

    name: str
    reason: ImageReason
    detail: str


def check_headers(root: Path, names: Sequence[str], limits: Limits) -> list[ImageError | None]:
    """Check the header of every file: format by magic bytes, bytes and pixels within limits.

    Args:
        root: the folder that names are relative to.
        names: relative POSIX paths.
        limits: what one picture may cost.

    Returns:
        For every name None, or why the file is no usable picture.
    """
    folder = os.fspath(root)

    def check(chunk: Sequence[str]) -> list[ImageError | None]:
        return [_check(os.path.join(folder, name), limits) for name in chunk]

    chunks = [names[start : start + 256] for start in range(0, len(names), 256)]
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="clearsight-gate") as pool:
        return [error for errors in pool.map(check, chunks) for error in errors]


def looks_like_picture(name: str) -> bool:
    """Return whether a file's suffix says that it is a picture."""
    return os.path.splitext(name)[1].casefold() in PICTURE_SUFFIXES


def _check(path: str, limits: Limits) -> ImageError | None:
    try:
        head, size = _read_head(path)
        try:
            header = read_header(head)
        except HeaderCutError:
            if size <= len(head):
                raise
            header = read_header(read_file(path, limits))
        check_limits(header, size, limits)
    except ImageError as error:
        return error
    except OSError as error:
        return unreadable(error)
    return None


def _read_head(path: str) -> tuple[bytes, int]:
    with open(path, "rb", buffering=0) as stream:
        return stream.read(HEAD_BYTES), os.fstat(stream.fileno()).st_size
