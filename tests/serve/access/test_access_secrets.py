"""Checks 32 and 46: a thousand keys are in no file of the store, no log, no message."""

import json
import sqlite3

import pytest
from sqlalchemy import event

from clearsight.serve import log
from clearsight.serve.access.keyed import KeyedAccess
from clearsight.serve.access.keys import KeyStore
from clearsight.serve.access.terms import Allowance
from clearsight.serve.access.tokens import PREFIX
from clearsight.serve.access.usage import UsageStore
from clearsight.serve.errors import QuotaError, RequestError
from clearsight.serve.store.database import Database

KEYS = 1000


def secret_of(token):
    """The part that nobody else may know, without prefix, id and checksum."""
    return token[len(PREFIX) + 14 : -6]


def hits(tokens, *places):
    """Return how many secrets stand in any of the places (bytes)."""
    everything = b"\0".join(places)
    return sum(secret_of(token).encode() in everything for token in tokens)


def content(folder):
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """A store in which a thousand keys were made, used well and badly, and some ended."""
    folder = tmp_path_factory.mktemp("store")
    database = Database(f"sqlite:///{folder / 'store.sqlite3'}")
    event.listen(  # a thousand syncs say nothing here
        database.engine, "connect", lambda opened, _: opened.execute("PRAGMA synchronous=OFF")
    )
    store, ledger = KeyStore(database), UsageStore(database)
    tokens = [store.create(f"key {n}", allowance=Allowance(day=2)).token for n in range(KEYS)]
    access = KeyedAccess(store, ledger, watch=False)
    messages = []
    for number, token in enumerate(tokens[:KEYS]):
        access.charge(access.caller(token, f"10.0.0.{number % 256}"), 2)
        for wrong in (token + "x", token[:-1], token.swapcase(), f"Bearer {token}"):
            with pytest.raises(RequestError) as refused:
                access.caller(wrong, f"10.0.0.{number % 256}")
            messages.append(str(refused.value))
        with pytest.raises(QuotaError) as refused:
            access.charge(access.caller(token, ""), 1)
        messages.append(str(refused.value))
        if number % 100 == 0:
            tokens.append(store.rotate(token, 60, actor="user:ada").token)
            store.revoke(f"key {number + 1}", actor="user:ada")
    access.flush()
    yield folder, tokens, messages, store
    access.close()
    database.close()


def test_no_secret_is_on_the_disk(thousand):
    folder, tokens, _, _ = thousand
    files = content(folder)
    assert sum(map(len, files)) > 100_000
    assert hits(tokens, *files) == 0


def test_no_secret_is_in_a_message_a_list_or_the_audit_log(thousand):
    _, tokens, messages, store = thousand
    shown = json.dumps([key.about() for key in store.keys(ended=True)])
    told = repr(store.keys(ended=True)) + repr(store.audit.entries())
    assert hits(tokens, "\n".join(messages).encode(), shown.encode(), told.encode()) == 0
    assert len(messages) == 5 * KEYS


def test_no_secret_is_in_the_log_of_a_failure(thousand, capsys, monkeypatch):
    _, tokens, _, store = thousand
    access = KeyedAccess(store, broken_ledger(store), watch=False)
    access.charge(access.caller(tokens[5], ""), 1)
    access.close()  # cannot write: says so
    log.LOG.flush()
    said = capsys.readouterr().err
    assert "used pictures could not be written" in said
    assert hits(tokens, said.encode()) == 0


def broken_ledger(store):
    class Broken:
        def totals(self, periods):
            return {}

        def add(self, amounts):
            raise OSError("away")

    return Broken()


def test_the_log_of_any_error_on_the_way_of_a_key_holds_none(thousand, capsys):
    _, tokens, _, store = thousand
    try:
        with store._database.transaction("access") as connection:
            connection.exec_driver_sql("INSERT INTO clearsight_keys (id) VALUES (?)", (tokens[0],))
    except Exception as error:  # noqa: BLE001 - whatever it is
        log.failure("request failed", error)
    log.LOG.flush()
    said = capsys.readouterr().err
    assert said
    assert hits(tokens, said.encode()) == 0


def test_a_store_that_kept_keys_as_they_are_would_be_found(thousand, tmp_path):
    _, tokens, _, _ = thousand
    with sqlite3.connect(tmp_path / "planted.sqlite3") as connection:
        connection.execute("CREATE TABLE keys (token TEXT)")
        connection.executemany("INSERT INTO keys VALUES (?)", [(token,) for token in tokens])
    connection.close()
    assert hits(tokens, *content(tmp_path)) == len(tokens)
