"""Where the service keeps its state: one folder that nobody else may read."""

from __future__ import annotations

import os
from pathlib import Path

from clearsight.core.errors import StorageError
from clearsight.core.files import storage_errors

FOLDER_VARIABLE = "CLEARSIGHT_STORE"
DATABASE_VARIABLE = "CLEARSIGHT_DATABASE"
BUNDLES_VARIABLE = "CLEARSIGHT_BUNDLES"
DATABASE_FILE = "store.sqlite3"
BUNDLES_FOLDER = "bundles"
CACHE_FOLDER = "bundle-cache"


def store_folder(option: Path | None = None) -> Path:
    """Return the state folder, made if it is missing, readable by its owner alone.

    Args:
        option: what `--store` said; None takes the environment's CLEARSIGHT_STORE, else
            `clearsight` in XDG_DATA_HOME (`~/.local/share`).

    Raises:
        StorageError: it is no folder, cannot be made, holds other things, or others may write it.
    """
    folder = (option or default_folder()).expanduser().absolute()
    with storage_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise StorageError(f"{folder} is a file. Give a folder for the store with --store DIR.")
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o700)
        _close_to_others(folder)
    return folder


def database_url(folder: Path) -> str:
    """Return the address of the database: CLEARSIGHT_DATABASE, else SQLite in the state folder."""
    return os.environ.get(DATABASE_VARIABLE) or f"sqlite:///{folder / DATABASE_FILE}"


def bundles_root(folder: Path) -> str:
    """Return where Bundles are kept: CLEARSIGHT_BUNDLES (a folder or a URL such as
    s3://bucket/path), else `bundles` in the state folder.
    """
    return os.environ.get(BUNDLES_VARIABLE) or str(folder / BUNDLES_FOLDER)


def default_folder() -> Path:
    """Return the folder that is taken where `--store` says nothing; it may not exist."""
    if told := os.environ.get(FOLDER_VARIABLE):
        return Path(told)
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "clearsight"


def _close_to_others(folder: Path) -> None:
    """Take the rights of group and others away; a foreign folder is refused, not changed."""
    state = folder.stat()
    if not state.st_mode & 0o077:
        return
    ours = not any(folder.iterdir()) or any(
        (folder / name).exists() for name in (DATABASE_FILE, BUNDLES_FOLDER, CACHE_FOLDER)
    )
    if not ours:
        raise StorageError(
            f"{folder} holds other things and can be read by others. Give an empty folder with "
            f"--store DIR, or run: chmod 700 {folder}"
        )
    if state.st_uid == os.geteuid():
        folder.chmod(0o700)
    elif state.st_mode & 0o002:
        raise StorageError(
            f"{folder} belongs to another user and everybody may write it. Give a folder of your "
            "own with --store DIR."
        )
