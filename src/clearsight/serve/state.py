"""What a service keeps between its lives, in one folder: keys, the registry, corrections."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clearsight.serve.access.caller import ANONYMOUS, Access, Caller, Everybody
from clearsight.serve.store.place import (
    DATABASE_FILE,
    DATABASE_VARIABLE,
    FOLDER_VARIABLE,
    database_url,
    default_folder,
    store_folder,
)

if TYPE_CHECKING:
    from clearsight.serve.access.keyed import KeyedAccess
    from clearsight.serve.registry.model_registry import ModelRegistry
    from clearsight.serve.store.database import Database


@dataclass(frozen=True, slots=True)
class State:
    """An opened state folder.

    Args:
        folder: where.
        access: who may do what.
        registry: versions of models.
        database: beneath both; closed with `close`.
    """

    folder: Path
    access: UntilFirstKey
    registry: ModelRegistry
    database: Database

    def close(self) -> None:
        """Write what was counted and close the database."""
        self.access.close()
        self.database.close()


class UntilFirstKey:
    """Lets everybody in until a store has had its first key, and nobody without one after.

    Args:
        access: of the store's keys.
    """

    def __init__(self, access: KeyedAccess) -> None:
        self._access = access

    @property
    def closed(self) -> bool:
        """Whether a key is needed."""
        return self._access.knows_keys

    def caller(self, token: str | None, address: str) -> Caller:
        """Return whoever holds a key; see `Access.caller`."""
        return self._access.caller(token, address) if self.closed else ANONYMOUS

    def charge(self, caller: Caller, pictures: int) -> None:
        """Count pictures; see `Access.charge`."""
        self._access.charge(caller, pictures)

    def give_back(self, caller: Caller, pictures: int) -> None:
        """Take back a charge; see `Access.give_back`."""
        self._access.give_back(caller, pictures)

    def close(self) -> None:
        """Write what was counted."""
        self._access.close()


def find_state(option: Path | None) -> State | None:
    """Open the state folder; None where none was named and none was ever made.

    A service of a single folder then needs no database, and starts without importing one.

    Raises:
        StorageError: it cannot be opened.
    """
    named = option or os.environ.get(FOLDER_VARIABLE) or os.environ.get(DATABASE_VARIABLE)
    if not named and not (default_folder() / DATABASE_FILE).exists():
        return None
    return open_state(store_folder(option))


def open_state(folder: Path) -> State:
    """Open the state folder, from `store_folder`.

    Raises:
        StorageError: it cannot be opened.
    """
    from clearsight.serve.access.keyed import open_access
    from clearsight.serve.registry.model_registry import ModelRegistry
    from clearsight.serve.registry.open import open_bundles
    from clearsight.serve.store.database import Database

    database = Database(database_url(folder))
    registry = ModelRegistry(database, open_bundles(folder))
    keyed = open_access(folder, database)
    return State(folder, UntilFirstKey(keyed), registry, database)


def needs_keys(access: Access) -> bool:
    """Say whether a key is needed."""
    if isinstance(access, Everybody):
        return False
    return access.closed if isinstance(access, UntilFirstKey) else True
