"""The database under the store: durable, serialised, versioned; SQLite and PostgreSQL alike."""

from __future__ import annotations

import importlib.util
import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy import text as sql
from store_support import EACH, FAILED, in_child, no_room, tables_of

from clearsight.core.errors import ConfigError, MissingExtraError, StorageError
from clearsight.serve.store.backup import damage
from clearsight.serve.store.database import METADATA, Database, Schema, owners
from clearsight.serve.store.engine import open_engine, ssl_context

New = Callable[[str], Database]
things = Table(
    "test_things",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("count", Integer, nullable=False),
)
FIRST = Schema("things", 1, (things,))


def add(database: Database, name: str, count: int = 0) -> None:
    with database.transaction("things") as connection:
        connection.execute(insert(things).values(name=name, count=count))


def counts(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        return {row.name: row.count for row in connection.execute(select(things))}


@pytest.fixture
def database(url: str, new_database: New) -> Database:
    found = new_database(url)
    found.prepare(FIRST)
    return found


@EACH
def test_rows_are_there_after_opening_again(
    url: str, database: Database, new_database: New
) -> None:
    add(database, "kept", 3)
    database.close()
    again = new_database(url)
    again.prepare(FIRST)
    assert counts(again) == {"kept": 3}


@EACH
def test_an_error_takes_everything_back(database: Database) -> None:
    before = database.revision()

    def fail() -> None:
        with database.transaction("things") as connection:
            connection.execute(insert(things).values(name="half", count=1))
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert counts(database) == {}
    assert database.revision() == before


@EACH
def test_the_revision_grows_for_its_owner_alone(database: Database) -> None:
    database.prepare(Schema("others", 1, ()))
    things_before, others_before = database.revision("things"), database.revision("others")
    add(database, "one")
    assert database.revision("things") == things_before + 1
    assert database.revision("others") == others_before
    assert database.revision() == database.revision("things") + database.revision("others")
    with database.transaction() as connection:
        connection.execute(insert(things).values(name="log", count=1))
    assert database.revision("things") == things_before + 1


def test_an_owner_that_was_not_prepared(database: Database) -> None:
    with pytest.raises(StorageError, match="prepare"), database.transaction("nobody"):
        pass
    assert database.revision("nobody") == 0


@EACH
def test_a_reader_sees_one_state_and_waits_for_nobody(database: Database) -> None:
    add(database, "one")
    with database.reading() as connection:
        first = connection.execute(select(things)).all()
        add(database, "two")  # a writer beside it, on another connection
        assert connection.execute(select(things)).all() == first
    assert set(counts(database)) == {"one", "two"}


def _count_up(database: Database, times: int) -> None:
    for _ in range(times):
        with database.transaction("things") as connection:
            seen = connection.execute(select(things.c.count)).scalar_one()
            connection.execute(update(things).values(count=seen + 1))


@EACH
def test_what_was_read_in_a_transaction_still_holds_when_it_writes(database: Database) -> None:
    add(database, "counter")
    threads = [threading.Thread(target=_count_up, args=(database, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(database) == {"counter": 40}


def test_control_reading_before_the_transaction_loses_counts(database: Database) -> None:
    add(database, "counter")
    both_read = threading.Barrier(2)

    def careless() -> None:
        seen = counts(database)["counter"]
        both_read.wait(10)
        with database.transaction("things") as connection:
            connection.execute(update(things).values(count=seen + 1))

    threads = [threading.Thread(target=careless) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(database) == {"counter": 1}


def _second(upgrade: Callable[[Any], None]) -> Schema:
    wider = Table(
        "test_things",
        MetaData(),
        Column("name", Text, primary_key=True),
        Column("count", Integer, nullable=False),
        Column("note", Text, nullable=False),
    )
    return Schema("things", 2, (wider,), {2: upgrade})


def _add_notes(connection: Any) -> None:
    connection.execute(sql("ALTER TABLE test_things ADD COLUMN note TEXT NOT NULL DEFAULT 'old'"))


@EACH
def test_an_older_store_is_upgraded(database: Database) -> None:
    add(database, "kept", 5)
    before = database.revision("things")
    database.prepare(_second(_add_notes))
    with database.reading() as connection:
        assert connection.execute(sql("SELECT note FROM test_things")).scalar_one() == "old"
    assert database.revision("things") > before
    database.prepare(_second(_add_notes))  # a second time changes nothing


@EACH
def test_an_upgrade_that_fails_leaves_the_older_store(database: Database) -> None:
    add(database, "kept", 5)

    def broken(connection: Any) -> None:
        _add_notes(connection)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        database.prepare(_second(broken))
    database.prepare(FIRST)
    assert counts(database) == {"kept": 5}
    with pytest.raises(StorageError), database.reading() as connection:
        connection.execute(sql("SELECT note FROM test_things"))


@EACH
def test_a_newer_store_is_refused_undamaged(
    database: Database, new_database: New, url: str
) -> None:
    add(database, "kept", 5)
    with database.transaction() as connection:
        connection.execute(update(owners).values(schema=9))
    database.close()
    again = new_database(url)
    before = tables_of(Path(url.removeprefix("sqlite:///"))) if "sqlite" in url else ""
    with pytest.raises(StorageError, match=r"version 9.*reads up to 1.*Nothing was changed"):
        again.prepare(FIRST)
    assert counts(again) == {"kept": 5}
    if "sqlite" in url:
        again.close()
        assert tables_of(Path(url.removeprefix("sqlite:///"))) == before


# -- SQLite


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def test_the_files_are_private_whatever_the_mask(file: Path, new_database: New) -> None:
    before = os.umask(0)
    try:
        database = new_database(f"sqlite:///{file}")
        database.prepare(FIRST)
        add(database, "one")
        names = {path.name: path.stat().st_mode & 0o777 for path in file.parent.glob("store*")}
    finally:
        os.umask(before)
    assert names.pop("store.sqlite3") == 0o600
    assert set(names.values()) == {0o600}  # the write-ahead log and its index


def test_commits_are_synced(file: Path, new_database: New) -> None:
    database = new_database(f"sqlite:///{file}")
    with database.reading() as connection:
        assert connection.execute(sql("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(sql("PRAGMA synchronous")).scalar_one() == 2  # FULL
        assert connection.execute(sql("PRAGMA foreign_keys")).scalar_one() == 1


def test_no_database(file: Path) -> None:
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="damaged or no database"):
        Database(f"sqlite:///{file}")
    assert file.read_bytes() == b"no database at all" * 100


def test_a_damaged_page_is_found(file: Path, new_database: New) -> None:
    database = new_database(f"sqlite:///{file}")
    database.prepare(FIRST)
    for number in range(300):
        add(database, f"name-{number:09}", number)
    assert damage(database.engine) == []
    database.close()
    content = bytearray(file.read_bytes())
    for position in range(3 * 4096, len(content), 4096):
        content[position : position + 64] = b"\xff" * 64
    file.write_bytes(content)
    assert damage(new_database(f"sqlite:///{file}").engine) != []


def test_a_full_disk_is_said_and_changes_nothing(file: Path, new_database: New) -> None:
    database = new_database(f"sqlite:///{file}")
    database.prepare(FIRST)
    add(database, "kept")
    database.close()

    def write() -> None:
        mine = Database(f"sqlite:///{file}")
        no_room(256 * 1024)
        for number in range(1000):
            add(mine, f"{number}" * 500)

    def expect() -> None:
        with pytest.raises(StorageError, match=r"no space|refused"):
            write()

    assert in_child(expect) == 0
    again = new_database(f"sqlite:///{file}")
    assert "kept" in counts(again)
    assert damage(again.engine) == []
    add(again, "after")


def test_control_a_child_that_fails_is_noticed() -> None:
    assert in_child(lambda: 1 / 0) == FAILED


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/name", "mysql"),
        ("nonsense", "cannot be read"),
        ("sqlite:///:memory:", "one file on a disk"),
        ("sqlite:////tmp/x?mode=ro", "no options"),
        ("postgresql://host/name?sslmode=maybe", "Allowed: disable, require, verify-full"),
        ("postgresql://host/name?options=-c", "'options'"),
        ("postgresql://host/name?sslrootcert=/nowhere", "cannot be read"),
    ],
)
def test_addresses_that_cannot_be_used(url: str, words: str) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("pg8000")
    with pytest.raises(ConfigError, match=words):
        open_engine(url)


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"clearsight\[postgresql\]"):
        open_engine("postgresql://host/name")


@pytest.mark.parametrize(
    ("host", "options", "encrypted"),
    [
        ("localhost", "", False),
        ("localhost", "sslmode=require", True),
        ("localhost", "sslmode=verify-full&sslrootcert=CERTIFICATE", True),
        ("localhost", "sslmode=verify-full", None),  # nobody vouches for its certificate
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=CERTIFICATE", None),  # another name
    ],
)
def test_tls(
    request: pytest.FixtureRequest, host: str, options: str, encrypted: bool | None
) -> None:
    server = request.getfixturevalue("server")
    told = options.replace("CERTIFICATE", str(server.certificate))
    database = Database(f"postgresql://postgres@{host}:{server.port}/postgres?{told}")
    if encrypted is None:
        with pytest.raises(StorageError):
            database.revision()
        return
    query = sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    with database.reading() as connection:
        assert connection.execute(query).scalar_one() is encrypted
    database.close()


def test_another_host_is_verified_unless_told_otherwise() -> None:
    far = make_url("postgresql://db.example.org/name")
    context = ssl_context(far)
    assert context
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert ssl_context(far.set(query={"sslmode": "disable"})) is False
    for near in ("postgresql://localhost/name", "postgresql:///name"):
        assert ssl_context(make_url(near)) is False


def test_a_server_that_was_gone_and_is_back(
    new_postgresql: Callable[[], str], new_database: New
) -> None:
    url = new_postgresql()
    database, other = new_database(url), new_database(url)
    database.prepare(FIRST)
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    add(database, "one")
    with other.reading() as connection:  # as a restart does: every connection is cut
        cut = connection.execute(sql(f"SELECT pg_terminate_backend(pid) {others}")).scalars().all()
    assert cut
    assert database.revision("things") == 1
    add(database, "two")
    assert set(counts(database)) == {"one", "two"}


def test_a_server_that_is_not_there_and_no_password_in_what_is_said() -> None:
    pytest.importorskip("pg8000")
    database = Database("postgresql://user:geheim@127.0.0.1:1/name")
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        database.revision()
    assert "geheim" not in str(caught.value)
    assert "geheim" not in database.address
