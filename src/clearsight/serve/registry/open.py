"""The way in: the registry of a state folder."""

from __future__ import annotations

from pathlib import Path

from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.store.blobs import QUOTA_BYTES, Blobs
from clearsight.serve.store.database import Database
from clearsight.serve.store.object_blobs import open_blobs
from clearsight.serve.store.place import CACHE_FOLDER, bundles_root, database_url, store_folder


def open_registry(store: Path | None = None, quota_bytes: int = QUOTA_BYTES) -> ModelRegistry:
    """Open the registry of a state folder, made where there is none.

    Args:
        store: the folder; None takes CLEARSIGHT_STORE, else the user's own. CLEARSIGHT_DATABASE
            and CLEARSIGHT_BUNDLES put rows and Bundles elsewhere.
        quota_bytes: what all Bundles may take together.

    Raises:
        StorageError: the store cannot be opened, or a newer clearsight wrote it.
        ConfigError, MissingExtraError: an address that cannot be used.
    """
    folder = store_folder(store)
    return ModelRegistry(Database(database_url(folder)), open_bundles(folder, quota_bytes))


def open_bundles(folder: Path, quota_bytes: int = QUOTA_BYTES) -> Blobs:
    """Open the store of Bundles that belongs to a state folder.

    Raises:
        ConfigError, MissingExtraError, StorageError: see `open_registry`.
    """
    return open_blobs(bundles_root(folder), folder / CACHE_FOLDER, quota_bytes)
