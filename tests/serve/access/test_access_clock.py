"""Check 21: a wall clock moved by a year changes no limit, and expired keys stay expired."""

import pytest

from clearsight.serve.access.clock import Clock, elapsed_s
from clearsight.serve.access.keyed import KeyedAccess
from clearsight.serve.access.keys import KeyStore
from clearsight.serve.access.terms import Allowance
from clearsight.serve.errors import QuotaError, UnauthorizedError

YEAR_S = 365 * 86400.0


class Believing(Clock):
    """A planted clock that believes the wall clock whatever it says."""

    def steady(self):
        return self.wall()

    def latest(self):
        return self.wall()


def opens(access, token):
    try:
        access.caller(token, "192.0.2.1")
    except UnauthorizedError:
        return False
    return True


@pytest.mark.parametrize("jump_s", [YEAR_S, -YEAR_S])
def test_a_jump_changes_no_rate_and_no_quota(store, ledger, hands, jump_s):
    slow = store.create("slow", allowance=Allowance(rate=1.0))
    counted = store.create("counted", allowance=Allowance(day=10, month=20))
    access = KeyedAccess(store, ledger, hands.clock, watch=False)
    slow_caller, counted_caller = (access.caller(k.token, "") for k in (slow, counted))
    access.charge(slow_caller, 1)
    access.charge(counted_caller, 10)
    hands.jump_s(jump_s)
    for caller in (slow_caller, counted_caller):
        with pytest.raises(QuotaError):
            access.charge(caller, 1)
    hands.pass_s(1.0)
    access.charge(slow_caller, 1)
    with pytest.raises(QuotaError):
        access.charge(slow_caller, 1)


@pytest.mark.parametrize("jump_s", [YEAR_S, -YEAR_S])
def test_wrong_keys_stay_limited(access, hands, jump_s):
    for _ in range(30):
        with pytest.raises(UnauthorizedError):
            access.caller("wrong", "192.0.2.1")
    hands.jump_s(jump_s)
    with pytest.raises(QuotaError):
        access.caller("wrong", "192.0.2.1")


def test_an_expired_key_stays_expired_when_the_clock_goes_back(store, ledger, hands):
    issued = store.create("shop", expires=hands.wall + 10)
    access = KeyedAccess(store, ledger, hands.clock, watch=False)
    assert opens(access, issued.token)
    hands.pass_s(11)
    assert not opens(access, issued.token)
    hands.jump_s(-YEAR_S)
    assert not opens(access, issued.token)
    access.refresh()
    assert not opens(access, issued.token)


def test_also_after_a_restart(database, store, ledger, hands):
    issued = store.create("shop", expires=hands.wall + 10)
    access = KeyedAccess(store, ledger, hands.clock, watch=False)
    hands.pass_s(11)
    access.flush()
    hands.jump_s(-YEAR_S)
    clock = hands.restarted()
    again = KeyedAccess(KeyStore(database, clock), ledger, clock, watch=False)
    assert not opens(again, issued.token)
    assert [key.state(clock.latest()) for key in store.keys(ended=True)] == ["expired"]


def test_a_key_that_expires_while_nobody_looks_ends_all_the_same(store, ledger, hands):
    issued = store.create("shop", expires=hands.wall + 10)
    access = KeyedAccess(store, ledger, hands.clock, watch=False)
    hands.jump_s(11)  # suspended: only the wall clock went on
    assert not opens(access, issued.token)


def test_a_clock_that_believes_the_wall_would_be_found(database, ledger, hands):
    clock = Believing(lambda: hands.wall, lambda: hands.steady)
    store = KeyStore(database, clock)
    issued = store.create("shop", expires=hands.wall + 10, allowance=Allowance(day=1))
    access = KeyedAccess(store, ledger, clock, watch=False)
    caller = access.caller(issued.token, "")
    access.charge(caller, 1)
    hands.jump_s(11)
    assert not opens(access, issued.token)
    hands.jump_s(-YEAR_S)
    assert opens(access, issued.token)
    hands.jump_s(2 * YEAR_S)
    access.charge(caller, 1)


def test_the_real_clocks_go_on():
    clock = Clock()
    assert elapsed_s() <= elapsed_s()
    assert abs(clock.steady() - clock.wall()) < 1.0
    assert clock.latest() <= clock.latest()
