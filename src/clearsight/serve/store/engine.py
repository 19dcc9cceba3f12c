"""Connections to SQLite and PostgreSQL with the settings that make a commit durable."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from clearsight.core.errors import ConfigError, MissingExtraError, StorageError
from clearsight.core.files import storage_errors, sync_folder

SQLITE, POSTGRESQL = "sqlite", "postgresql"
BEGIN = "clearsight_begin"
BUSY_S = 30.0
SSL_MODES = ("disable", "require", "verify-full")
LOCAL_HOSTS = frozenset({None, "", "localhost", "127.0.0.1", "::1"})
NETWORK = (ConnectionError, TimeoutError, ssl.SSLError)  # pg8000 lets some of them through
URL_FORMS = "sqlite:////absolute/file or postgresql://user:password@host/name"


def open_engine(url: str) -> Engine:
    """Return an SQLAlchemy engine whose commits are on the disk when they return.

    Args:
        url: `sqlite:////absolute/file`, or `postgresql://user:password@host:port/name`. Other
            hosts than this one are spoken to in TLS with their certificate verified; `?sslmode=`
            disable, require (TLS, not verified) or verify-full says otherwise, `&sslrootcert=FILE`
            names the authority.

    Raises:
        ConfigError: another kind of address or option.
        StorageError: it cannot be opened.
        MissingExtraError: PostgreSQL without pg8000.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"The database address cannot be read. Allowed: {URL_FORMS}.") from error
    kind = parsed.get_backend_name()
    if kind == SQLITE:
        return _open_sqlite(parsed)
    if kind in (POSTGRESQL, "postgres"):
        return _open_postgresql(parsed)
    raise ConfigError(f"A store cannot live in {kind!r}. Allowed: {URL_FORMS}.")


@contextmanager
def database_errors(engine: Engine) -> Iterator[None]:
    """Turn a database error inside the block into a StorageError that says what to do."""
    try:
        yield
    except SQLAlchemyError as error:
        raise _typed(engine, error) from error


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """Yield a connection; whatever goes wrong in getting one or using it is a StorageError."""
    try:
        with database_errors(engine), _fresh(engine) as connection:
            yield connection
    except NETWORK as error:
        raise _typed(engine, error) from error


def _fresh(engine: Engine) -> Connection:
    """Return a connection; those kept from before a server's restart are let go."""
    try:
        return engine.connect()
    except NETWORK:
        engine.dispose()
        return engine.connect()


def _typed(engine: Engine, error: Exception) -> StorageError:
    address = engine.url.render_as_string(hide_password=True)
    return StorageError(f"{address}: {_advice(error)}")


def _open_sqlite(url: URL) -> Engine:
    if url.query or not url.database or url.database == ":memory:":
        raise ConfigError(
            "A store in SQLite is one file on a disk: sqlite:////absolute/file, no options."
        )
    file = Path(url.database)
    with storage_errors(file):
        if not file.exists():
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            sync_folder(file.parent)
    plain = URL.create("sqlite+pysqlite", database=str(file))
    engine = create_engine(plain, connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours, see `_begin`
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        how = connection.get_execution_options().get(BEGIN, "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {how}")

    _write_ahead(file)
    return engine


def _write_ahead(file: Path) -> None:
    """Switch the file to a write-ahead log; SQLite may answer 'locked' at once while others do."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection = sqlite3.connect(file, timeout=BUSY_S)
            try:
                mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise StorageError(f"{file}: {_advice(error)}") from error
            time.sleep(0.02)
            continue
        except sqlite3.DatabaseError as error:
            raise StorageError(f"{file}: {_advice(error)}") from error
        if mode == "wal":
            return
        raise StorageError(
            f"{file}: this file system has no shared memory for SQLite's write-ahead log (a "
            "network disk?). Give a folder on a local disk with --store DIR, or use PostgreSQL."
        )


def _open_postgresql(url: URL) -> Engine:
    if importlib.util.find_spec("pg8000") is None:
        raise MissingExtraError("pg8000", "postgresql", "A store in PostgreSQL")
    known = {"sslmode", "sslrootcert", "unix_sock"}
    if unknown := sorted(set(url.query) - known):
        raise ConfigError(
            f"The database address has the option {unknown[0]!r}. Allowed: {', '.join(known)}."
        )
    arguments: dict[str, Any] = {"timeout": BUSY_S, "application_name": "clearsight"}
    if "unix_sock" in url.query:
        arguments["unix_sock"] = url.query["unix_sock"]
    arguments["ssl_context"] = ssl_context(url)
    plain = url.set(drivername="postgresql+pg8000", query={})
    engine = create_engine(plain, connect_args=arguments, pool_pre_ping=True)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SET lock_timeout = {int(BUSY_S * 1000)}")
        cursor.execute(f"SET statement_timeout = {int(2 * BUSY_S * 1000)}")
        connection.commit()

    return engine


def ssl_context(url: URL) -> ssl.SSLContext | Literal[False]:
    """Return how a PostgreSQL server at this address is spoken to in TLS, False without.

    Raises:
        ConfigError: an unknown `sslmode`, or an `sslrootcert` that cannot be read.
    """
    local = url.host in LOCAL_HOSTS
    mode = url.query.get("sslmode", "disable" if local else "verify-full")
    if mode not in SSL_MODES:
        raise ConfigError(f"sslmode={mode!r} is not known. Allowed: {', '.join(SSL_MODES)}.")
    authority = url.query.get("sslrootcert")
    if mode == "disable":
        return False  # None would mean: perhaps
    try:
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
    except OSError as error:
        raise ConfigError(f"sslrootcert={authority!r} cannot be read: {error}.") from error
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _words(cause: BaseException) -> str:
    """Return the server's message without its details, which quote rows."""
    first = cause.args[0] if cause.args else ""
    return str(first.get("M", "")) if isinstance(first, dict) else str(first)


def _advice(error: Exception) -> str:
    """Return what went wrong and what to do, without values of a statement."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    words = _words(cause)
    if "locked" in words or "lock timeout" in words:
        return (
            f"another process has been writing for {BUSY_S:.0f} s. Stop it or try again; nothing "
            "was changed."
        )
    if "disk is full" in words or "No space left" in words:
        return "no space left on the disk. Free some space and try again; nothing was changed."
    if "readonly" in words or "unable to open" in words:
        return "it cannot be opened for writing. Check the folder's and the file's permissions."
    if "malformed" in words or "not a database" in words:
        return (
            "the file is damaged or no database. Restore it with 'clearsight registry restore "
            "BACKUP'."
        )
    if isinstance(cause, ssl.SSLError):
        return (
            f"its certificate is not trusted ({cause.reason}). Name the authority with "
            "?sslmode=verify-full&sslrootcert=FILE."
        )
    if isinstance(cause, OSError) or "connect" in words.lower():
        return f"the server cannot be reached ({type(cause).__name__}). Check that it runs."
    return f"the database refused ({type(cause).__name__}: {words[:300]})."
