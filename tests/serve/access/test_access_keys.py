"""Keys in the store and at the door: made, used, rotated, revoked; wrong ones all look alike."""

import threading
import time

import pytest
from sqlalchemy import event

from clearsight.core.errors import ConfigError, StorageError
from clearsight.serve import log
from clearsight.serve.access import keyed
from clearsight.serve.access.caller import ANONYMOUS, NOBODY, Caller, Everybody
from clearsight.serve.access.clock import Clock
from clearsight.serve.access.keyed import KeyedAccess, open_access
from clearsight.serve.access.keys import ACCESS, KeyStore
from clearsight.serve.access.terms import Allowance
from clearsight.serve.access.tokens import checksum, new_token
from clearsight.serve.access.usage import UsageStore
from clearsight.serve.calls import Call
from clearsight.serve.errors import (
    ForbiddenError,
    NotReadyError,
    QuotaError,
    UnauthorizedError,
)
from clearsight.serve.service import Model, Service
from clearsight.serve.store.database import Database, Schema
from clearsight.testing.protocol_contract import WatchedPredictor, picture

DAY_S = 86400.0


def valid(access, token, address="192.0.2.1"):
    access.refresh()
    try:
        return access.caller(token, address)
    except UnauthorizedError:
        return None


def test_a_new_key_opens_what_it_may(store, access):
    issued = store.create("shop", ["recognize", "metrics"], tenant="acme")
    caller = valid(access, issued.token)
    assert caller == Caller(issued.key.id, "acme", frozenset({"recognize", "metrics"}))
    caller.require("recognize")
    caller.require("public")
    with pytest.raises(ForbiddenError, match="metrics, recognize"):
        caller.require("admin")


def test_without_a_key_only_what_is_public(access):
    caller = access.caller(None, "192.0.2.1")
    assert caller is NOBODY
    caller.require("public")
    with pytest.raises(UnauthorizedError, match="X-API-Key"):
        caller.require("recognize")


def test_a_service_without_keys_lets_everybody_recognize_and_nobody_administer():
    door = Everybody()
    caller = door.caller("csk_whatever", "192.0.2.1")
    assert caller is ANONYMOUS
    door.charge(caller, 10**9)
    door.give_back(caller, 10**9)
    for scope in ("public", "recognize", "explain", "metrics"):
        caller.require(scope)
    with pytest.raises(ForbiddenError, match="without keys"):
        caller.require("admin")


def wrong_keys(store, hands):
    """Every kind of wrong key, by name."""
    revoked = store.create("to be revoked")
    store.revoke("to be revoked")
    expired = store.create("to expire", expires=hands.wall + 10)
    hands.pass_s(20)
    good = store.create("good")
    secret = good.token[:-10] + "".join(reversed(good.token[-10:]))
    body = f"csk_{good.key.id}_{'A' * 40}"
    return {
        "malformed": "hello",
        "empty": "",
        "mistyped": secret,
        "unknown": new_token()[1],
        "the right id with another secret": body + checksum(body),
        "revoked": revoked.token,
        "expired": expired.token,
        "very long": "x" * 60_000,
        "good with more behind": good.token + "x",
    }


def test_every_wrong_key_gets_the_same_words_after_the_same_work(store, ledger, hands, monkeypatch):
    wrong = wrong_keys(store, hands)
    access = KeyedAccess(store, ledger, hands.clock, watch=False)
    work = []
    digest, compare = keyed.digest, keyed.hmac.compare_digest
    monkeypatch.setattr(keyed, "digest", lambda text: work.append("digest") or digest(text))
    monkeypatch.setattr(
        keyed.hmac, "compare_digest", lambda a, b: work.append("compare") or compare(a, b)
    )
    answers, costs = set(), set()
    for address, (kind, token) in enumerate(wrong.items()):
        work.clear()
        with pytest.raises(UnauthorizedError) as refused:
            access.caller(token, f"192.0.2.{address}")
        answers.add((type(refused.value), str(refused.value)))
        costs.add(tuple(work))
        assert token == "" or token not in str(refused.value), kind
    assert len(answers) == 1
    assert costs == {("digest", "compare")}


def test_wrong_keys_are_limited_and_valid_ones_unaffected(store, ledger, hands):
    good = store.create("good")
    access = KeyedAccess(store, ledger, hands.clock, watch=False)
    outcomes = {UnauthorizedError: 0, QuotaError: 0}
    waits = []
    for number in range(10_000):
        hands.pass_s(60 / 10_000)
        if number % 100 == 0:
            access.refresh()
        try:
            access.caller(new_token()[1] if number % 50 == 0 else f"csk_{number}", "192.0.2.7")
        except (UnauthorizedError, QuotaError) as refused:
            outcomes[type(refused)] += 1
            waits.append(getattr(refused, "retry_after_s", 1.0))
        if number % 10 == 0:  # from the same address, in the middle of it
            assert access.caller(good.token, "192.0.2.7").id == good.key.id
    assert outcomes[UnauthorizedError] <= 61
    assert sum(outcomes.values()) == 10_000
    assert all(0 < wait <= 2 for wait in waits)


@pytest.mark.parametrize("seconds", [20.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_revoked_key_ends_everywhere_in_time(tmp_path, seconds):
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    databases = [Database(url) for _ in range(3)]
    stores = [KeyStore(database) for database in databases]
    issued = stores[0].create("shop")
    doors = [
        KeyedAccess(store, UsageStore(database))
        for store, database in zip(stores, databases, strict=True)
    ]
    for door in doors:
        assert door.caller(issued.token, "").id == issued.key.id
    stores[0].revoke("shop")
    until = time.monotonic() + seconds
    waiting = list(doors)
    while waiting and time.monotonic() < until:
        waiting = [door for door in waiting if still_opens(door, issued.token)]
        time.sleep(0.01)
    assert not waiting
    for door in doors:
        door.close()


def still_opens(door, token):
    try:
        door.caller(token, "192.0.2.1")
    except (UnauthorizedError, QuotaError):
        return False
    return True


def test_a_door_that_does_not_look_again_would_be_found(store, access):
    issued = store.create("shop")
    access.refresh()
    store.revoke("shop")
    assert still_opens(access, issued.token)


def test_a_store_that_cannot_be_read_closes_the_door_after_a_while(store, access, hands):
    issued = store.create("shop")
    access.refresh()
    store.revision = broken
    with pytest.raises(StorageError):
        access.refresh()
    hands.pass_s(keyed.STALE_S - 1)
    assert access.caller(issued.token, "").id
    hands.pass_s(2)
    with pytest.raises(NotReadyError):
        access.caller(issued.token, "")
    assert access.caller(None, "") is NOBODY  # what is public goes on
    del store.revision
    access.refresh()
    assert access.caller(issued.token, "").id


def broken():
    raise StorageError("the disk is away")


def test_a_store_that_is_away_is_logged_once(store, ledger, monkeypatch, capsys):
    monkeypatch.setattr(keyed, "POLL_S", 0.01)
    door = KeyedAccess(store, ledger)
    store.revision = broken
    time.sleep(0.3)
    door.close()
    log.LOG.flush()
    assert capsys.readouterr().err.count("the store of keys cannot be used") == 1


def test_rotation_keeps_the_terms_and_both_keys_for_the_grace(store, access, hands):
    terms = Allowance(rate=2.0, day=100)
    old = store.create("shop", ["explain"], "acme", terms, expires=hands.wall + 30 * DAY_S)
    hands.pass_s(10 * DAY_S)
    new = store.rotate("shop", grace_s=3600)
    first, second = valid(access, old.token), valid(access, new.token)
    assert first == second == Caller(old.key.id, "acme", frozenset({"explain"}))
    assert new.key.expires == pytest.approx(hands.wall + 30 * DAY_S)
    kept = store.keys()
    assert [key.state(hands.wall) for key in kept] == ["grace", "active"]
    hands.pass_s(3601)
    assert valid(access, old.token) is None
    assert valid(access, new.token) == second


def test_a_key_and_its_successor_share_rate_and_quota(store, access):
    old = store.create("shop", allowance=Allowance(rate=10.0, day=12))
    new = store.rotate("shop", grace_s=3600)
    access.charge(valid(access, old.token), 10)
    with pytest.raises(QuotaError, match="is 10/s"):
        access.charge(valid(access, new.token), 1)
    assert access.used(valid(access, new.token)) == (10, 10)


def test_rotation_without_grace_ends_the_old_key_at_once(store, access):
    old = store.create("shop")
    new = store.rotate(old.key.id, grace_s=0)
    assert valid(access, old.token) is None
    assert valid(access, new.token).id == old.key.id


def test_a_rotated_key_is_not_rotated_again(store):
    old = store.create("shop")
    new = store.rotate("shop", grace_s=60)
    with pytest.raises(ConfigError, match=new.key.id):
        store.rotate(old.key.id, grace_s=60)
    assert store.rotate("shop", grace_s=60).key.account == old.key.id  # by name: the newest
    with pytest.raises(ConfigError):
        store.rotate("shop", grace_s=-1)


def test_revoking_a_name_ends_a_key_and_its_successor(store, access):
    tokens = [store.create("shop").token, store.rotate("shop", grace_s=60).token]
    assert len(store.revoke("shop")) == 2
    assert [valid(access, token) for token in tokens] == [None, None]
    assert store.keys() == []
    assert [key.ended_as for key in store.keys(ended=True)] == ["revoked", "revoked"]


def test_a_pasted_key_is_revoked_and_never_repeated(store):
    issued = store.create("shop")
    assert [key.id for key in store.revoke(issued.token)] == [issued.key.id]
    with pytest.raises(ConfigError) as refused:
        store.revoke(issued.token)
    assert issued.token not in str(refused.value)


ACTS = {
    "create": lambda store: store.create("other", ["admin"], "acme", Allowance(day=5)),
    "rotate with grace": lambda store: store.rotate("shop", 60),
    "rotate": lambda store: store.rotate("shop", 0),
    "revoke": lambda store: store.revoke("shop"),
}


@pytest.mark.parametrize("act", ACTS)
def test_an_act_cut_at_any_statement_is_done_or_not_done(store, database, act):
    store.create("shop")
    before, acts = store.keys(ended=True), len(store.audit.entries())
    left = [0]

    def cut(*_):
        left[0] -= 1
        if left[0] == 0:
            raise OSError("cut")

    event.listen(database.engine, "before_cursor_execute", cut)
    for statement in range(1, 50):
        left[0] = statement
        try:
            ACTS[act](store)
        except OSError:
            left[0] = -1
            assert store.keys(ended=True) == before
            assert len(store.audit.entries()) == acts
            assert store.audit.verify() is None
        else:
            break
    left[0] = -1
    assert statement > 5
    assert store.keys(ended=True) != before
    assert len(store.audit.entries()) == acts + 1
    assert store.audit.verify() is None


def test_a_name_belongs_to_one_valid_key(store, hands):
    store.create("shop", expires=hands.wall + 10)
    with pytest.raises(ConfigError, match="rotate"):
        store.create("shop")
    hands.pass_s(11)
    store.create("shop")


def test_an_unknown_key_lists_its_neighbours(store):
    store.create("shop")
    with pytest.raises(ConfigError, match="Did you mean 'shop'"):
        store.revoke("shpo")
    for number in range(30):
        store.create(f"key {number}")
    with pytest.raises(ConfigError, match="keys list"):
        store.revoke("shpo")


@pytest.mark.parametrize(
    "terms",
    [
        {"scopes": ["recognise"]},
        {"scopes": []},
        {"tenant": "A B"},
        {"expires": 1.0},
        {"expires": 1e15},
        {"name": ""},
    ],
)
def test_terms_that_cannot_be(store, terms):
    with pytest.raises(ConfigError):
        store.create(**{"name": "shop", **terms})
    assert store.keys(ended=True) == []
    assert store.audit.head().seq == 0


def test_what_is_shown_of_a_key_holds_no_secret(store):
    issued = store.create("shop")
    shown = repr(issued) + repr(issued.key) + str(issued.key.about())
    assert issued.token not in shown
    assert issued.token[17:57] not in shown
    assert issued.key.secret_sha256.hex() not in shown


def test_a_key_that_ends_between_look_and_charge(store, access):
    issued = store.create("shop", allowance=Allowance(day=5))
    caller = valid(access, issued.token)
    store.revoke("shop")
    access.refresh()
    with pytest.raises(UnauthorizedError):
        access.charge(caller, 1)


def test_what_was_refused_by_the_service_is_given_back(store, access):
    issued = store.create("shop", allowance=Allowance(rate=4.0, day=4))
    caller = valid(access, issued.token)
    access.charge(caller, 4)
    access.give_back(caller, 4)
    access.charge(caller, 4)
    access.charge(NOBODY, 1000)
    access.give_back(NOBODY, 1000)
    assert access.used(caller) == (4, 4)


@pytest.fixture
def service(access):
    started = Service([Model("watched", "1", WatchedPredictor())], access=access)
    yield started
    started.close()


def test_who_has_used_everything_up_is_refused_before_a_body_is_read(store, access, service):
    issued = store.create("shop", allowance=Allowance(rate=3.0, day=2))
    caller = valid(access, issued.token)
    for _ in range(5):
        service.admit(Call([], caller=caller))
    assert access.used(caller) == (0, 0)
    service.recognize(Call([picture("PNG")] * 2, caller=caller))
    with pytest.raises(QuotaError, match="a day is 2"):
        service.admit(Call([], caller=caller))


def test_pictures_that_the_service_refuses_cost_nothing(store, access, service):
    issued = store.create("shop", allowance=Allowance(day=100))
    caller = valid(access, issued.token)
    service.queue.close()
    with pytest.raises(NotReadyError):
        service.recognize(Call([picture("PNG")] * 2, caller=caller))
    assert access.used(caller) == (0, 0)


def test_many_threads_charge_and_revoke_at_once(store, access):
    issued = store.create("shop", allowance=Allowance(day=500))
    caller = valid(access, issued.token)
    passed = []

    def charge():
        for _ in range(100):
            try:
                access.charge(caller, 1)
            except QuotaError:
                return
            passed.append(1)

    threads = [threading.Thread(target=charge) for _ in range(8)]
    for thread in threads:
        thread.start()
    access.flush()
    for thread in threads:
        thread.join()
    assert len(passed) == 500


def test_a_store_of_a_newer_clearsight_is_refused(database):
    database.prepare(Schema(ACCESS.owner, 2, ACCESS.tables))
    with pytest.raises(StorageError, match="newer"):
        KeyStore(database)


def test_a_store_remembers_that_it_had_keys(store, ledger, hands):
    access = KeyedAccess(store, ledger, hands.clock, watch=False)
    assert not access.knows_keys
    store.create("shop")
    access.refresh()
    assert access.knows_keys
    store.revoke("shop")
    assert KeyedAccess(store, ledger, hands.clock, watch=False).knows_keys


def test_open_access_on_a_folder(tmp_path):
    door = open_access(tmp_path)
    try:
        assert (tmp_path / "store.sqlite3").exists()
        assert door.caller(None, "") is NOBODY
    finally:
        door.close()


def test_open_access_on_an_open_database(tmp_path, database):
    issued = KeyStore(database).create("shop")
    door = open_access(tmp_path, database)
    assert door.caller(issued.token, "").id
    door.close()
    assert KeyStore(database, Clock()).keys()  # it stays open
