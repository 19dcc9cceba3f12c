"""Token buckets: a rate holds whatever is asked, wrong keys are bounded, others left alone."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearsight.serve.access.rates import Bucket, WrongKeys, network_of

steps = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 32)), min_size=1, max_size=60)


def taken(bucket, moments):
    """Ask at each (seconds since the last, amount); return the (moment, amount) that passed."""
    now, passed = 0.0, []
    for pause, amount in moments:
        now += pause
        if not bucket.wait_s(amount, now):
            bucket.take(amount, now)
            passed.append((now, amount))
    return passed


def most_over_the_rate(passed, per_s):
    """Return the most that any stretch of time took beyond what the rate gave in it."""
    worst = 0.0
    for start in range(len(passed)):
        total = 0
        for moment, amount in passed[start:]:
            total += amount
            worst = max(worst, total - per_s * (moment - passed[start][0]))
    return worst


class Forgetful(Bucket):
    """A planted bucket that starts full at every pause."""

    def _fill(self, now):
        if now > self._at:
            self._level = self.burst
        self._at = now


@given(steps, st.floats(0.1, 50), st.floats(1, 50))
def test_no_stretch_of_time_takes_more_than_burst_and_rate(moments, per_s, burst):
    bucket = Bucket(per_s, burst, 0.0)
    largest = max(amount for _, amount in moments)
    allowed = burst + max(0.0, largest - burst)
    assert most_over_the_rate(taken(bucket, moments), per_s) <= allowed + 1e-6


def test_a_bucket_that_forgets_would_be_found():
    moments = [(0.01, 1)] * 100
    assert most_over_the_rate(taken(Bucket(1.0, 2.0, 0.0), moments), 1.0) <= 2.0
    assert most_over_the_rate(taken(Forgetful(1.0, 2.0, 0.0), moments), 1.0) > 50


@given(steps, st.floats(0.1, 50), st.floats(1, 50), st.integers(1, 1000))
def test_after_the_wait_it_told_anything_passes(moments, per_s, burst, amount):
    bucket = Bucket(per_s, burst, 0.0)
    now = sum(pause for pause, _ in moments)
    taken(bucket, moments)
    wait = bucket.wait_s(amount, now)
    assert bucket.wait_s(amount, now + wait) == 0.0


@given(st.floats(-1e6, 1e6))
def test_a_clock_that_jumps_back_fills_nothing(jump):
    bucket = Bucket(1.0, 10.0, 0.0)
    bucket.take(10, 0.0)
    assert (bucket.wait_s(1, min(0.0, jump))) == pytest.approx(1.0)


def test_what_is_given_back_never_overfills():
    bucket = Bucket(1.0, 5.0, 0.0)
    bucket.take(3, 0.0)
    bucket.put_back(3)
    bucket.put_back(3)
    assert not bucket.wait_s(5, 0.0)
    bucket.take(5, 0.0)
    assert bucket.wait_s(1, 0.0) == 1.0


# One key at ten times its rate (check 24): what the others wait, in a simulated service.


def percentile_wait(arrivals, service_s, who, limited):
    """Return the 99th percentile of what `who` waits at one worker; over-rate pictures refused."""
    bucket = Bucket(5.0, 5.0, 0.0)
    free, waits = 0.0, []
    for moment, name in arrivals:
        if name == "greedy" and limited:
            if bucket.wait_s(1, moment):
                continue
            bucket.take(1, moment)
        began = max(free, moment)
        free = began + service_s
        if name == who:
            waits.append(free - moment)
    return sorted(waits)[int(len(waits) * 0.99)]


def arrivals_of(greedy_per_s, seconds=600):
    generator = random.Random(0)

    def poisson(name, per_s):
        now = generator.expovariate(per_s)
        while now < seconds:
            yield now, name
            now += generator.expovariate(per_s)

    return sorted(itertools.chain(poisson("greedy", greedy_per_s), poisson("modest", 10.0)))


def test_one_key_at_ten_times_its_rate_does_not_slow_the_others():
    within = percentile_wait(arrivals_of(5.0), 0.02, "modest", limited=True)
    beyond = percentile_wait(arrivals_of(50.0), 0.02, "modest", limited=True)
    assert beyond <= 1.2 * within


def test_without_the_rate_it_would():
    within = percentile_wait(arrivals_of(5.0), 0.02, "modest", limited=False)
    beyond = percentile_wait(arrivals_of(50.0), 0.02, "modest", limited=False)
    assert beyond > 5 * within


# Wrong keys (check 33).


def tried(wrong, count, seconds, address="192.0.2.7", start=0.0, now=None):
    """Send wrong keys evenly over a time; return how many were only refused, not limited."""
    clock = now if now is not None else [start]
    free = 0
    for _ in range(count):
        free += not wrong.count(address)
        clock[0] += seconds / count
    return free


def test_ten_thousand_wrong_keys_a_minute_are_limited():
    now = [0.0]
    wrong = WrongKeys(lambda: now[0])
    assert tried(wrong, 10_000, 60.0, now=now) <= 30 + 0.5 * 60 + 1
    assert wrong.count("192.0.2.8") == 0.0  # another address is not concerned


def test_without_a_bound_it_would_be_found():
    now = [0.0]
    wrong = WrongKeys(lambda: now[0], burst=1e9)
    assert tried(wrong, 10_000, 60.0, now=now) > 9_000


def test_the_table_of_addresses_is_bounded():
    wrong = WrongKeys(lambda: 0.0, addresses=100)
    for number in range(10_000):
        wrong.count(f"10.{number >> 8}.{number & 255}.1")
    assert len(wrong) == 100


def test_the_one_that_was_quiet_for_longest_is_forgotten():
    wrong = WrongKeys(lambda: 0.0, burst=1.0, addresses=2)
    wrong.count("192.0.2.1")
    wrong.count("192.0.2.2")
    assert wrong.count("192.0.2.1") > 0  # seen again: now the newest
    wrong.count("192.0.2.3")
    assert wrong.count("192.0.2.1") > 0
    assert wrong.count("192.0.2.2") == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("x" * 1000, "x" * 64, True),
    ],
)
def test_what_counts_as_one_address(one, other, same):
    assert (network_of(one) == network_of(other)) is same
