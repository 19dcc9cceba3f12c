"""Check 43 for keys: every act is in the log, any change in it is located, a kill loses nothing."""

import dataclasses
import itertools
import json
import random
import sqlite3
import subprocess
import sys

import pytest

from clearsight.core.errors import StorageError
from clearsight.serve.access.audit import BEGINNING, Entry, Fault, Head, find_fault, this_user
from clearsight.serve.access.keys import KeyStore
from clearsight.serve.store.database import Database


def chain(count):
    """A log of `count` entries that holds."""
    rows, previous = [], BEGINNING
    for seq in range(1, count + 1):
        words = ("user:ada", "key.create", f"key{seq}", "{}", previous, "")
        entry = Entry(seq, 1_790_000_000_000 + seq, *words)
        rows.append(dataclasses.replace(entry, hash=entry.expected_hash()))
        previous = rows[-1].hash
    return rows


def fault_of(rows, head=None, known=None):
    return find_fault(iter(rows), head or Head(rows[-1].seq, rows[-1].hash), known)


def rehashed(entry, **words):
    changed = dataclasses.replace(entry, **words)
    return dataclasses.replace(changed, hash=changed.expected_hash())


@pytest.fixture(scope="module")
def long_chain():
    return chain(10_000)


def test_a_chain_that_was_not_touched(long_chain):
    assert fault_of(long_chain) is None
    assert find_fault(iter([]), Head(0, BEGINNING)) is None


@pytest.mark.parametrize(
    "words",
    [
        {"actor": "user:eve"},
        {"action": "key.revoke"},
        {"subject": "other"},
        {"detail": '{"name":"x"}'},
        {"at_ms": 5},
        {"previous": "f" * 64},
        {"hash": "f" * 64},
    ],
)
def test_any_change_in_ten_thousand_entries_is_located(long_chain, words):
    generator = random.Random(repr(words))
    for place in (0, 9_999, generator.randrange(10_000)):
        rows = list(long_chain)
        rows[place] = dataclasses.replace(rows[place], **words)
        assert fault_of(rows, Head(10_000, long_chain[-1].hash)).seq == place + 1


def test_an_entry_written_anew_with_its_own_hash_is_located(long_chain):
    for place in (0, 1, 5_000, 9_998, 9_999):
        rows = list(long_chain)
        rows[place] = rehashed(rows[place], actor="user:eve")
        fault = fault_of(rows, Head(10_000, long_chain[-1].hash))
        assert fault.seq == place + 1


def test_one_hung_onto_another_chain_is_located(long_chain):
    for place in (0, 1, 5_000, 9_998, 9_999):
        rows = list(long_chain)
        rows[place] = rehashed(rows[place], previous="e" * 64)
        assert fault_of(rows, Head(10_000, long_chain[-1].hash)).seq == place + 1


def test_a_removed_entry_is_located(long_chain):
    head = Head(10_000, long_chain[-1].hash)
    for place in (0, 1, 5_000, 9_999):
        rows = [*long_chain[:place], *long_chain[place + 1 :]]
        assert fault_of(rows, head) == Fault(place + 1, "it is missing")
    assert fault_of(long_chain[:1], head) == Fault(2, "it is missing")
    assert find_fault(iter([]), head) == Fault(1, "it is missing")


def test_two_entries_exchanged_are_located(long_chain):
    rows = list(long_chain)
    rows[4_000], rows[4_001] = rows[4_001], rows[4_000]
    assert fault_of(rows).seq == 4_001


def test_an_added_entry_is_located(long_chain):
    extra = rehashed(long_chain[-1], seq=10_001, previous=long_chain[-1].hash)
    assert fault_of([*long_chain, extra], Head(10_000, long_chain[-1].hash)).seq == 10_001


def test_a_log_written_wholly_anew_is_found_by_whoever_kept_a_head(long_chain):
    rows = chain(100)
    other = [rehashed(rows[0], actor="user:eve")]
    for entry in rows[1:]:
        other.append(rehashed(entry, previous=other[-1].hash))
    kept = Head(50, rows[49].hash)
    assert fault_of(other) is None  # the chain alone cannot know
    assert fault_of(other, known=kept).seq == 50
    assert fault_of(rows, known=kept) is None
    assert fault_of(rows[:40], known=kept) == Fault(41, "it is missing")


def test_a_check_that_looks_only_at_links_would_be_found(long_chain):
    def links_only(rows):
        pairs = itertools.pairwise(rows)
        return next((b.seq for a, b in pairs if b.previous != a.hash), None)

    rows = list(long_chain)
    rows[5_000] = dataclasses.replace(rows[5_000], actor="user:eve")
    assert links_only(rows) is None
    assert fault_of(rows, Head(10_000, long_chain[-1].hash)).seq == 5_001


# In the store.


def test_every_act_is_written_and_no_secret(store):
    issued = store.create("shop", actor="user:ada")
    new = store.rotate("shop", 60, actor="user:bob")
    store.revoke(new.key.id, actor="key:admin")
    acts = [(e.actor, e.action, e.subject) for e in store.audit.entries()]
    assert acts == [
        ("user:ada", "key.create", issued.key.id),
        ("user:bob", "key.rotate", new.key.id),
        ("key:admin", "key.revoke", new.key.id),
    ]
    detail = json.loads(store.audit.entries()[1].detail)
    assert (detail["old"], detail["grace_s"], detail["name"]) == (issued.key.id, 60, "shop")
    everything = repr(store.audit.entries())
    for secret in (issued.token, new.token, issued.key.secret_sha256.hex()):
        assert secret not in everything
    assert store.audit.verify() is None
    assert store.audit.entries(newest=1)[0].seq == 3
    assert store.audit.head().seq == 3


def test_an_act_that_fails_leaves_no_entry(store, monkeypatch):
    store.create("shop")
    add = store.audit.add

    def broken(*words, **detail):
        add(*words, **detail)
        raise StorageError("cut")

    monkeypatch.setattr(store.audit, "add", broken)
    with pytest.raises(StorageError):
        store.revoke("shop")
    monkeypatch.undo()
    (kept,) = store.keys()
    assert kept.name == "shop"
    assert len(store.audit.entries()) == 1
    assert store.audit.verify() is None


def test_sql_cannot_change_the_log(store, tmp_path):
    store.create("shop")
    with sqlite3.connect(tmp_path / "store.sqlite3") as connection:
        for statement in (
            "UPDATE clearsight_audit SET actor='eve'",
            "DELETE FROM clearsight_audit",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE clearsight_audit SET actor='eve' WHERE seq=7", 7),
        ("DELETE FROM clearsight_audit WHERE seq=3", 3),
        ("DELETE FROM clearsight_audit WHERE seq>8", 9),
        ("DELETE FROM clearsight_audit", 1),
        ("UPDATE clearsight_audit_head SET hash='x'", 12),
    ],
)
def test_who_removes_the_triggers_is_found_all_the_same(store, tmp_path, statement, seq):
    for number in range(12):
        store.create(f"key {number}")
    with sqlite3.connect(tmp_path / "store.sqlite3") as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall()
        for (name,) in names:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
    connection.close()
    assert store.audit.verify().seq == seq


KILLED = """
import sys
from clearsight.serve.access.keys import KeyStore
from clearsight.serve.store.database import Database
store = KeyStore(Database(sys.argv[1]))
number = 0
while True:
    number += 1
    key = store.create(f"{sys.argv[2]} {number}").key
    print(key.id, flush=True)
"""


def test_killed_writers_leave_a_whole_log_with_every_acknowledged_act(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    command = [sys.executable, "-c", KILLED, url]
    writers = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"
    ]
    acknowledged = []
    for writer in writers:
        acknowledged += [line.strip() for line in itertools.islice(writer.stdout, 5)]
        writer.kill()
        acknowledged += [line.strip() for line in writer.stdout if len(line) == 13]
        writer.wait()
        writer.stdout.close()
    database = Database(url)
    store = KeyStore(database)
    assert store.audit.verify() is None
    assert set(acknowledged) <= {entry.subject for entry in store.audit.entries()}
    kept = store.keys()
    assert {e.subject for e in store.audit.entries()} == {key.id for key in kept}
    database.close()


def test_the_actor_of_a_command_line(monkeypatch):
    assert this_user().startswith("user:")
    monkeypatch.setattr("getpass.getuser", broken_getuser)
    assert this_user() == "user:unknown"


def broken_getuser():
    raise OSError("no name for this user")
