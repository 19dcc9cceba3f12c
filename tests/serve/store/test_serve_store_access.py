"""Keys, audit log and used pictures on every kind of database."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import delete, update

from clearsight.core.bundle import Bundle
from clearsight.core.errors import StorageError
from clearsight.serve.access import audit
from clearsight.serve.access.keyed import KeyedAccess
from clearsight.serve.access.keys import KeyStore
from clearsight.serve.access.quotas import Periods
from clearsight.serve.access.terms import Allowance
from clearsight.serve.access.usage import UsageStore
from clearsight.serve.errors import UnauthorizedError
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.store.database import Database

New = Callable[[str], Database]


def test_a_key_from_its_making_to_its_end(url: str, new_database: New) -> None:
    database = new_database(url)
    store, ledger = KeyStore(database), UsageStore(database)
    allowance = Allowance(rate=1000.5, day=10**12, month=10**13)
    old = store.create("网店", ["recognize"], "acme", allowance, actor="user:ada")
    new = store.rotate("网店", 60.0)
    found = KeyStore(new_database(url)).keys()
    kept = {key.id: key for key in found}
    assert kept[new.key.id].allowance == allowance
    assert kept[new.key.id].secret_sha256 == new.key.secret_sha256
    assert kept[old.key.id].successor == new.key.id
    access = KeyedAccess(store, ledger, watch=False)
    access.charge(access.caller(new.token, ""), 7)
    access.flush()
    other = KeyedAccess(KeyStore(new_database(url)), UsageStore(new_database(url)), watch=False)
    assert other.used(other.caller(old.token, "")) == (7, 7)
    store.revoke("网店")
    other.refresh()
    for token in (old.token, new.token):
        with pytest.raises(UnauthorizedError):
            other.caller(token, "")
    assert store.audit.verify() is None
    assert [entry.action for entry in store.audit.entries()] == [
        "key.create",
        "key.rotate",
        "key.revoke",
        "key.revoke",
    ]


def test_the_audit_log_refuses_changes(url: str, new_database: New) -> None:
    database = new_database(url)
    store = KeyStore(database)
    store.create("shop")
    for statement in (update(audit.entries).values(actor="eve"), delete(audit.entries)):
        with pytest.raises(StorageError), database.transaction() as connection:
            connection.execute(statement)
    assert len(store.audit.entries()) == 1
    assert store.audit.verify() is None


def test_writers_at_once_leave_one_chain(url: str, new_database: New) -> None:
    stores = [KeyStore(new_database(url)) for _ in range(4)]

    def work(number: int) -> None:
        for turn in range(5):
            stores[number].create(f"{number}.{turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores[0].keys()) == 20
    assert stores[0].audit.head().seq == 20
    assert stores[0].audit.verify() is None


def test_counts_of_processes_add_up(url: str, new_database: New) -> None:
    ledgers = [UsageStore(new_database(url)) for _ in range(4)]
    slots = {("a", "2026-01-31"): 1, ("a", "2026-01"): 1}

    def work(ledger: UsageStore) -> None:
        for _ in range(5):
            ledger.add(slots)

    threads = [threading.Thread(target=work, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledgers[0].totals(["2026-01-31", "2026-01"]) == dict.fromkeys(slots, 20)
    ledgers[0].forget("2026-02-01", "2026-01")
    assert ledgers[0].totals(["2026-01-31", "2026-01"]) == {("a", "2026-01"): 20}


def test_an_expired_key_is_marked(url: str, new_database: New) -> None:
    from clearsight.serve.access.clock import Clock

    wall = [1_790_000_000.0]
    store = KeyStore(new_database(url), Clock(lambda: wall[0], lambda: 0.0))
    store.create("shop", expires=wall[0] + 10)
    wall[0] += 11
    assert store.end_expired() == 1
    assert store.keys() == []
    assert store.end_expired() == 0
    assert Periods.at(wall[0]).day == "2026-09-21"


def test_changes_of_the_registry_are_in_the_same_log(
    registry: ModelRegistry, bundle: Callable[[str], Bundle]
) -> None:
    keys = KeyStore(registry.database)
    keys.create("shop", actor="user:ada")
    for tag in ("a", "b"):
        number = registry.add("shoes", bundle(tag).path, who="bob").record.version
        registry.promote("shoes", number, who="bob", why=f"number {number}")
    registry.rollback("shoes", who="key 4Jd0x7QmZk2B", why="worse")
    acts = [(entry.actor, entry.action, entry.subject) for entry in keys.audit.entries()]
    assert acts[0][:2] == ("user:ada", "key.create")
    assert acts[1:] == [
        ("bob", "model.add", "shoes"),
        ("bob", "model.promote", "shoes"),
        ("bob", "model.add", "shoes"),
        ("bob", "model.promote", "shoes"),
        ("key 4Jd0x7QmZk2B", "model.rollback", "shoes"),
    ]
    assert keys.audit.verify() is None
