"""Crash-safe files: write beside, fsync, rename, fsync the folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clearsight.core.errors import StorageError

TEMPORARY_PREFIX = ".clearsight-tmp-"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Args:
        path: the file; its folder must exist.
        content: everything the file shall hold.

    Raises:
        StorageError: disk full, permission denied or another I/O failure; the old file is intact.
    """
    temporary = _beside(path)
    with storage_errors(path):
        try:
            with open(temporary, "xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text crash-safely; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value crash-safely, indented, in UTF-8; see `write_bytes`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON value.

    Raises:
        StorageError: the file cannot be read, or is not JSON.
    """
    with storage_errors(path):
        content = path.read_bytes()
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} is not valid JSON: {error}.") from error


@contextmanager
def new_folder(path: Path, before_rename: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Build a folder under a temporary name and rename it into place when the block ends well.

    Args:
        path: where the folder shall stand; it must not exist.
        before_rename: called with the finished, synced temporary folder; raising cancels.

    Yields:
        The temporary folder to fill.

    Raises:
        StorageError: `path` exists, or an I/O failure. Nothing is left behind on any error.
    """
    if path.exists():
        raise StorageError(f"{path} already exists. Choose another name or remove it first.")
    temporary = _beside(path)
    with storage_errors(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            sync_tree(temporary)
            if before_rename is not None:
                before_rename(temporary)
            os.rename(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(root, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(root))


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with storage_errors(path), open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_litter(folder: Path) -> list[str]:
    """Remove temporaries that a killed process left directly in `folder`; return their names."""
    removed = []
    with storage_errors(folder):
        for entry in sorted(folder.glob(f"{TEMPORARY_PREFIX}*")):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
            removed.append(entry.name)
    return removed


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: {_advice(error)}") from error


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the disk. Free some space and run the same command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "permission denied. Choose a folder you may write, or change its permissions."
    if error.errno == errno.ENOENT:
        return "no such file or folder. Check the path."
    return f"{error.strerror or error}."


def _beside(path: Path) -> Path:
    return path.parent / f"{TEMPORARY_PREFIX}{path.name[:40]}-{uuid.uuid4().hex[:12]}"
