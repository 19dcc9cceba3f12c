"""Quotas: exact within a process, kept across restarts, a killed process loses a stated bit."""

import subprocess
import sys
import threading
import time

import pytest

from clearsight.core.errors import StorageError
from clearsight.serve.access.keyed import FLUSH_S, KeyedAccess
from clearsight.serve.access.quotas import Periods, Quotas
from clearsight.serve.access.terms import Allowance
from clearsight.serve.access.usage import UsageStore
from clearsight.serve.errors import QuotaError

DAY_S = 86400.0
TEN = Allowance(day=10, month=25)


@pytest.fixture
def quotas(ledger, hands):
    return Quotas(ledger, hands.clock)


def passes(quotas, pictures, allowance=TEN, account="a"):
    try:
        quotas.charge(account, allowance, pictures)
    except QuotaError:
        return False
    return True


def test_all_of_a_request_or_nothing(quotas):
    assert passes(quotas, 8)
    assert not passes(quotas, 3)
    assert passes(quotas, 2)
    assert quotas.used("a") == (10, 10)
    assert passes(quotas, 10, account="b")


def test_a_refusal_says_what_is_left_and_when_to_come_back(quotas, hands):
    quotas.charge("a", TEN, 8)
    with pytest.raises(QuotaError, match="a day is 10; 2 are left") as refused:
        quotas.charge("a", TEN, 3)
    assert refused.value.retry_after_s == pytest.approx(
        Periods.at(hands.wall).day_ends - hands.wall
    )


def test_a_new_day_begins_anew_and_the_month_goes_on(quotas, hands):
    for _ in range(2):
        assert passes(quotas, 10)
        assert not passes(quotas, 1)
        hands.pass_s(DAY_S)
    assert passes(quotas, 5)
    with pytest.raises(QuotaError, match="a month"):
        quotas.charge("a", TEN, 1)
    hands.pass_s(31 * DAY_S)
    assert passes(quotas, 10)


def test_counts_survive_a_restart(quotas, ledger, hands):
    quotas.charge("a", TEN, 9)
    quotas.flush()
    again = Quotas(ledger, hands.restarted())
    assert again.used("a") == (9, 9)
    assert not passes(again, 2)


def test_without_a_write_they_would_not(quotas, ledger, hands):
    quotas.charge("a", TEN, 9)
    assert Quotas(ledger, hands.restarted()).used("a") == (0, 0)


def test_an_orderly_stop_writes_everything(store, ledger, hands):
    issued = store.create("shop", allowance=TEN)
    access = KeyedAccess(store, ledger, hands.clock)
    access.charge(access.caller(issued.token, ""), 7)
    access.close()
    assert Quotas(ledger, hands.restarted()).used(issued.key.id) == (7, 7)


def test_two_processes_see_each_other_after_a_write(ledger, hands):
    one, other = Quotas(ledger, hands.clock), Quotas(ledger, hands.clock)
    one.charge("a", TEN, 6)
    other.charge("a", TEN, 3)
    one.flush()
    other.flush()
    assert other.used("a") == (9, 9)
    assert not passes(other, 2)
    assert passes(one, 2)  # has not written since: exceeds by what it takes meanwhile
    one.flush()
    assert one.used("a") == (11, 11)
    assert not passes(one, 1)


def test_a_store_that_refuses_loses_nothing(quotas, ledger, hands, monkeypatch):
    quotas.charge("a", TEN, 4)

    def full(amounts):
        raise StorageError("no space left")

    monkeypatch.setattr(ledger, "add", full)
    with pytest.raises(StorageError):
        quotas.flush()
    assert quotas.used("a") == (4, 4)
    assert not passes(quotas, 7)
    monkeypatch.undo()
    quotas.flush()
    quotas.flush()
    assert quotas.used("a") == (4, 4)
    now = Periods.at(hands.wall)
    assert ledger.totals([now.day, now.month]) == {("a", now.day): 4, ("a", now.month): 4}


def test_counts_made_while_a_write_runs_are_kept(quotas, ledger, hands):
    writing, go_on = threading.Event(), threading.Event()
    add = ledger.add

    def slow(amounts):
        writing.set()
        go_on.wait(10)
        return add(amounts)

    ledger.add = slow
    quotas.charge("a", TEN, 4)
    thread = threading.Thread(target=quotas.flush)
    thread.start()
    writing.wait(10)
    assert quotas.used("a") == (4, 4)
    assert passes(quotas, 6)
    assert not passes(quotas, 1)
    go_on.set()
    thread.join()
    assert quotas.used("a") == (10, 10)
    quotas.flush()
    assert Quotas(ledger, hands.restarted()).used("a") == (10, 10)


def test_old_counts_are_removed(quotas, ledger, hands):
    quotas.charge("a", Allowance(), 1)
    quotas.flush()
    first = Periods.at(hands.wall)
    hands.pass_s(100 * DAY_S)
    quotas.charge("a", Allowance(), 1)
    quotas.flush()
    quotas.forget()
    now = Periods.at(hands.wall)
    found = ledger.totals([first.day, first.month, now.day, now.month])
    assert found == {("a", first.month): 1, ("a", now.day): 1, ("a", now.month): 1}
    hands.pass_s(500 * DAY_S)
    quotas.forget()
    assert ledger.totals([first.month, now.day, now.month]) == {}


@pytest.mark.parametrize(
    ("moment", "day", "month_ends"),
    [
        (951_782_400.0, "2000-02-29", 951_868_800.0),  # a leap day ends a month
        (1_798_761_599.0, "2026-12-31", 1_798_761_600.0),
        (1_798_761_600.0, "2027-01-01", 1_801_440_000.0),
    ],
)
def test_periods(moment, day, month_ends):
    periods = Periods.at(moment)
    assert (periods.day, periods.month, periods.month_ends) == (day, day[:7], month_ends)
    assert periods.day_ends - moment <= DAY_S


KILLED = """
import os, sys, time
from pathlib import Path
from clearsight.serve.access.keyed import open_access
access = open_access(Path(sys.argv[1]))
caller = access.caller(sys.argv[2], "")
for count in range(1, 101):
    access.charge(caller, 1)
    print(count, flush=True)
    time.sleep(0.02)
"""


def test_a_killed_process_loses_at_most_what_it_counted_since_its_last_write(
    tmp_path, store, ledger, hands
):
    issued = store.create("shop")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), issued.token],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if int(line) == 80:
            break
    process.kill()
    process.wait()
    process.stdout.close()
    now = Periods.at(time.time())
    kept = UsageStore(store._database).totals([now.day]).get((issued.key.id, now.day), 0)
    assert 80 - FLUSH_S / 0.02 * 1.5 <= kept <= 82
