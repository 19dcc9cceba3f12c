"""Puts a folder in the place of another in one step: whoever looks finds the old or the new one."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from clearsight.core.errors import StorageError
from clearsight.core.files import TEMPORARY_PREFIX, storage_errors, sync_folder

AT_FDCWD = -100
RENAME_EXCHANGE = 2  # Linux, renameat2(2)
RENAME_SWAP = 2  # macOS, renamex_np(2)
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)


def replace_folder(path: Path, build: Callable[[Path], None]) -> None:
    """Replace a folder by a new one; the old one is there until the new one is complete.

    Args:
        path: an existing folder.
        build: makes the new folder under the name it is given (crash-safely, as `new_folder`
            does); raising leaves `path` as it was.

    Raises:
        StorageError: an I/O failure, or a file system that cannot exchange two names; `path` is
            as it was.
    """
    beside = path.parent / f"{TEMPORARY_PREFIX}{path.name[:40]}-{uuid.uuid4().hex[:12]}"
    try:
        build(beside)
        exchange(beside, path)
        with storage_errors(path):
            sync_folder(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def exchange(one: Path, other: Path) -> None:
    """Let two names change places in one step of the file system.

    Raises:
        StorageError: one is missing, or the file system cannot do it.
    """
    try:
        _exchange(os.fsencode(one), os.fsencode(other))
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise StorageError(f"{other}: {error.strerror or error}.") from error
        raise StorageError(
            f"{other} lies on a file system that cannot exchange two folders in one step, and it "
            "is not replaced in two. Write to a new folder with --out."
        ) from error


def _exchange(one: bytes, other: bytes) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(one, other, RENAME_SWAP)
        else:
            failed = library.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)
    except AttributeError as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
