"""Back up a registry while it works, put a backup back, and look a store through."""

from __future__ import annotations

from pathlib import Path

from clearsight.core.bundle import open_bundle
from clearsight.core.errors import BundleError, ClearsightError, StorageError
from clearsight.core.files import new_folder
from clearsight.serve.registry import rows
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.registry.tables import OWNER, SCHEMA
from clearsight.serve.store import backup as store
from clearsight.serve.store.blobs import Blobs, FolderBlobs
from clearsight.serve.store.database import Database
from clearsight.serve.store.place import BUNDLES_FOLDER, DATABASE_FILE

TRIES = 3  # a Bundle may be collected between the rows and the copy


def back_up(registry: ModelRegistry, out: Path) -> int:
    """Write a registry, as of one moment, with the Bundles of all its versions into a new folder.

    Writers and services go on meanwhile. The folder appears whole or not at all.

    Args:
        registry: what to back up; keys and other rows of its database come along.
        out: must not exist.

    Returns:
        How many Bundles it holds.

    Raises:
        StorageError: `out` exists, or no room on the disk.
        BundleError: a Bundle in the store is damaged.
    """
    with new_folder(out) as staged:
        staged.chmod(0o700)
        bundles = FolderBlobs(staged / BUNDLES_FOLDER, quota_bytes=2**63)
        for attempt in range(1, TRIES + 1):
            (staged / DATABASE_FILE).unlink(missing_ok=True)
            store.back_up(registry.database, staged / DATABASE_FILE)
            wanted = _digests(staged / DATABASE_FILE)
            try:
                for digest in sorted(wanted):
                    bundles.put(open_bundle(registry.blobs.folder(digest)))
                break
            except BundleError:
                if attempt == TRIES:
                    raise
        bundles.collect(wanted, grace_s=0)
    return len(wanted)


def restore(backup: Path, database: Database, blobs: Blobs) -> int:
    """Put a backup back into an empty store; the Bundles first, the rows last and at once.

    Args:
        backup: what `back_up` wrote; it is not changed.
        database: empty, of either kind.
        blobs: where the Bundles go.

    Returns:
        How many Bundles were put back.

    Raises:
        StorageError: no backup, a newer clearsight wrote it, or the database is not empty.
        BundleError: a Bundle of the backup is damaged; no row was written.
    """
    file = backup / DATABASE_FILE
    source = store.open_backup(file)
    try:
        version = store.schema_versions(source).get(OWNER, 0)
    finally:
        source.dispose()
    if version > SCHEMA.version:
        raise StorageError(
            f"{backup} was written by a newer clearsight (registry tables of version {version}; "
            f"this one reads up to {SCHEMA.version}). Install the newer clearsight."
        )
    wanted = _digests(file)
    for digest in sorted(wanted):
        found = open_bundle(backup / BUNDLES_FOLDER / digest)
        if blobs.put(found).digest != digest:
            raise BundleError(f"{found.path}: the Bundle is not the one that was backed up.")
    store.put_back(file, database)
    return len(wanted)


def look_through(registry: ModelRegistry) -> list[str]:
    """Read every page, row and Bundle of a registry.

    Returns:
        What is wrong, for a person; empty when nothing is.
    """
    problems = list(store.damage(registry.database.engine))
    for model in registry.models():
        for version in model.versions:
            try:
                registry.blobs.verify(version.digest)
            except ClearsightError as error:
                problems.append(f"{model.name} version {version.version}: {error}")
    return problems


def _digests(file: Path) -> set[str]:
    source = store.open_backup(file)
    try:
        with source.connect() as connection:
            return rows.digests(connection)
    finally:
        source.dispose()
