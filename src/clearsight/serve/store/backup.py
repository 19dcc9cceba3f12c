"""The rows of a store in one SQLite file: taken while writers go on, and put back anywhere.

SQLite to SQLite is a copy of pages; to and from PostgreSQL the rows of every table are copied, so
a store that has outgrown a file moves to a server by backup and restore.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, insert, inspect, select
from sqlalchemy import text as sql

from clearsight.core.errors import StorageError
from clearsight.core.files import storage_errors, sync_folder
from clearsight.serve.store.database import Database, owners
from clearsight.serve.store.engine import SQLITE, connected, database_errors

ROWS_AT_ONCE = 500


def back_up(database: Database, file: Path) -> None:
    """Write every row of a database, as of one moment, into a new SQLite file.

    Args:
        database: writers may go on meanwhile.
        file: must not exist.

    Raises:
        StorageError: it exists, or cannot be written.
    """
    with storage_errors(file):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if database.engine.dialect.name == SQLITE:
        with _driver(database.engine) as source, closing(sqlite3.connect(file)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
    else:
        with database_errors(database.engine):
            target_engine = create_engine(f"sqlite:///{file}")
            with database.reading() as source_rows, target_engine.begin() as target_rows:
                _copy_rows(source_rows, target_rows)
            target_engine.dispose()
    with storage_errors(file):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        sync_folder(file.parent)


def put_back(file: Path, database: Database) -> None:
    """Fill an empty database with the rows of a backup, all or nothing.

    Args:
        file: what `back_up` wrote; it is not changed.
        database: nothing may have been prepared in it yet.

    Raises:
        StorageError: the file is no backup or damaged, or the database is not empty.
    """
    source = open_backup(file)
    try:
        if found := damage(source):
            raise StorageError(f"{file} is damaged: {found[0]}. Take an earlier backup.")
        with database.reading() as connection:
            if inspect(connection).get_table_names():
                raise StorageError(
                    f"{database.address} holds something already; a backup is put back into an "
                    "empty store. Give another folder with --store DIR, or move the old one away."
                )
        if database.engine.dialect.name == SQLITE:
            with _driver(source) as pages, _driver(database.engine) as target:
                pages.backup(target)
                target.execute("PRAGMA journal_mode=WAL")
        else:
            with source.connect() as rows, database.transaction() as target_rows:
                _copy_rows(rows, target_rows)
    finally:
        source.dispose()


def open_backup(file: Path) -> Engine:
    """Open a backup for reading alone; nothing beside it is written.

    Raises:
        StorageError: there is none.
    """
    if not file.is_file():
        raise StorageError(
            f"{file} is no backup. Give the folder 'clearsight registry backup' wrote."
        )
    address = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True))


def damage(engine: Engine) -> list[str]:
    """Look through every page and reference of an SQLite database.

    Returns:
        What is wrong, empty when nothing is. PostgreSQL looks after its own pages: always empty.
    """
    if engine.dialect.name != SQLITE:
        return []
    try:
        with _driver(engine) as connection:
            pages = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
            loose = [
                f"a row of {row[0]} refers to a row of {row[2]} that is not there"
                for row in connection.execute("PRAGMA foreign_key_check")
            ]
    except StorageError as error:
        return [str(error)]
    return [line for line in pages if line != "ok"] + loose


def schema_versions(engine: Engine) -> dict[str, int]:
    """Return the version of each owner's tables in a backup.

    Raises:
        StorageError: it holds none, so it is no backup of a store.
    """
    with connected(engine) as connection:
        if not inspect(connection).has_table(owners.name):
            raise StorageError(f"{engine.url!s}: there is no store in this file.")
        return {row.owner: row.schema for row in connection.execute(select(owners))}


@contextmanager
def _driver(engine: Engine) -> Iterator[sqlite3.Connection]:
    """Yield the SQLite connection itself."""
    with database_errors(engine):
        borrowed = engine.raw_connection()
        try:
            driver: Any = borrowed.driver_connection
            yield driver
        except sqlite3.Error as error:
            raise StorageError(f"{engine.url!s}: {error}.") from error
        finally:
            borrowed.close()


def _copy_rows(source: Connection, target: Connection) -> None:
    """Copy every table with all rows; the target has none."""
    tables = MetaData()

    @event.listens_for(tables, "column_reflect")
    def _plain(_inspector: Any, _table: Any, column: dict[str, Any]) -> None:
        column["type"] = column["type"].as_generic()
        column["default"] = None

    tables.reflect(bind=source)
    tables.create_all(target)
    for table in tables.sorted_tables:
        found = source.execute(select(table)).mappings()
        while batch := found.fetchmany(ROWS_AT_ONCE):
            target.execute(insert(table), [dict(row) for row in batch])
    if target.dialect.name != SQLITE:
        _set_sequences(target, tables)


def _set_sequences(target: Connection, tables: MetaData) -> None:
    """Let numbers that PostgreSQL gives go on after those that were copied."""
    for table in tables.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        names = {"t": table.name, "c": column.name}
        sequence = target.execute(sql("SELECT pg_get_serial_sequence(:t, :c)"), names).scalar_one()
        newest = target.execute(
            select(column).order_by(column.desc()).limit(1)
        ).scalar_one_or_none()
        if sequence is not None and newest is not None:
            target.execute(sql("SELECT setval(:s, :n)"), {"s": sequence, "n": newest})
