"""Rows on a disk that survive kills: SQLite (WAL, synchronous=FULL) or PostgreSQL, one interface.

Each owner of tables (keys, registry ...) declares a `Schema` beside them. An owner's row in
`clearsight_owners` holds its schema version and a revision that grows with each of its changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, func, insert, select
from sqlalchemy import inspect as inspect_schema
from sqlalchemy import text as sql
from sqlalchemy import update as change

from clearsight.core.errors import StorageError
from clearsight.serve.store.engine import BEGIN, SQLITE, connected, open_engine

METADATA = MetaData()
PREPARE_LOCK = 7_041_776_015  # any fixed number: two processes must not create tables at once

owners = Table(
    "clearsight_owners",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("schema", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
)


@dataclass(frozen=True)
class Schema:
    """The tables of one owner and how older ones are brought up to date.

    Args:
        owner: a word, for example "registry".
        version: of the tables as they are declared now; 1, 2, 3 ...
        tables: declared on `METADATA`.
        upgrades: by version, what brings the tables of the version before to this one; runs
            inside the transaction that records the new version.
    """

    owner: str
    version: int
    tables: tuple[Table, ...]
    upgrades: Mapping[int, Callable[[Connection], None]] = field(default_factory=dict)


class Database:
    """A database file or server. Thread-safe; processes may share it.

    Args:
        url: `sqlite:////absolute/file` or `postgresql://user:password@host/name`; for TLS to
            a PostgreSQL server see `open_engine`.

    Raises:
        StorageError: it cannot be opened, or is not a database.
        MissingExtraError: PostgreSQL without its driver.
        ConfigError: another kind of address.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)

    @property
    def address(self) -> str:
        """The URL without its password, for messages."""
        return self.engine.url.render_as_string(hide_password=True)

    def prepare(self, schema: Schema) -> None:
        """Make an owner's tables, or bring older ones up to date; must come before other calls.

        Raises:
            StorageError: a newer clearsight wrote them; nothing is changed.
        """
        if self._schema_version(schema.owner) == schema.version:
            return
        with self._connection(write=True) as connection:
            if self.engine.dialect.name != SQLITE:
                connection.execute(sql("SELECT pg_advisory_xact_lock(:n)"), {"n": PREPARE_LOCK})
            METADATA.create_all(connection, tables=[owners])
            self._upgrade(connection, schema)

    @contextmanager
    def transaction(self, owner: str | None = None) -> Iterator[Connection]:
        """Change rows: all of the block or nothing, on the disk when the block has ended.

        Transactions that name the same owner run one after another (on SQLite all do), so what
        was read inside one still holds when it writes.

        Args:
            owner: whose revision grows; None for rows that nobody watches (a log).

        Yields:
            An SQLAlchemy Core connection.

        Raises:
            StorageError: disk full, the server or another writer does not answer; nothing was
                changed.
        """
        with self._connection(write=True) as connection:
            if owner is not None:
                grown = owners.c.revision + 1
                statement = change(owners).where(owners.c.owner == owner).values(revision=grown)
                if connection.execute(statement).rowcount != 1:
                    raise StorageError(f"{self.address} holds no tables of {owner!r}; prepare it.")
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read rows; every query of the block sees the same state, and no writer waits.

        Yields:
            An SQLAlchemy Core connection.

        Raises:
            StorageError: the database cannot be read.
        """
        with self._connection(write=False) as connection:
            yield connection

    def revision(self, owner: str | None = None) -> int:
        """Return a number that has grown if anything of the owner changed; one small query.

        Args:
            owner: whose rows; None for all owners together.

        Raises:
            StorageError: the database cannot be read.
        """
        statement = select(func.coalesce(func.sum(owners.c.revision), 0))
        if owner is not None:
            statement = statement.where(owners.c.owner == owner)
        with self._connection(write=False) as connection:
            return int(connection.execute(statement).scalar_one())

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _schema_version(self, owner: str) -> int | None:
        with self._connection(write=False) as connection:
            if not inspect_schema(connection).has_table(owners.name):
                return None
            statement = select(owners.c.schema).where(owners.c.owner == owner)
            found: int | None = connection.execute(statement).scalar_one_or_none()
            return found

    def _upgrade(self, connection: Connection, schema: Schema) -> None:
        row = owners.c.owner == schema.owner
        found = connection.execute(select(owners.c.schema).where(row)).scalar_one_or_none()
        if found is not None and found > schema.version:
            raise StorageError(
                f"{self.address}: its {schema.owner} tables have version {found}; this clearsight "
                f"reads up to {schema.version}. Nothing was changed. Install the newer clearsight "
                "that wrote it, or give another store with --store DIR."
            )
        for version in range((found or schema.version) + 1, schema.version + 1):
            schema.upgrades[version](connection)
        METADATA.create_all(connection, tables=list(schema.tables))
        if found is None:
            values = {"owner": schema.owner, "schema": schema.version, "revision": 0}
            connection.execute(insert(owners).values(values))
        else:
            grown = owners.c.revision + 1
            values = {"schema": schema.version, "revision": grown}
            connection.execute(change(owners).where(row).values(values))

    @contextmanager
    def _connection(self, write: bool) -> Iterator[Connection]:
        with connected(self.engine) as connection:
            if self.engine.dialect.name == SQLITE:
                connection.execution_options(**{BEGIN: "IMMEDIATE" if write else "DEFERRED"})
            elif not write:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection


__all__ = ["METADATA", "Database", "Schema", "owners"]
