"""Percentiles in bounded memory, and what waiting clients did not send."""

import numpy as np
import pytest

from clearsight.client.load.histogram import MOST_ADDED, Histogram


def filled(values):
    times = Histogram()
    for value in values:
        times.add(float(value))
    return times


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_quantiles_are_right_to_a_thousandth(share, seed):
    values = np.random.default_rng(seed).lognormal(-4, 2, 5000)
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    assert filled(values).quantile(share) == pytest.approx(exact, rel=1.1e-3, abs=1.1e-6)


def test_every_value_falls_into_a_step_that_holds_it():
    for microseconds in [*range(0, 9000), 2**20 - 1, 2**20, 2**33 + 5]:
        times = filled([microseconds / 1e6, 1e6])
        step, _ = next(times.steps())
        assert microseconds / 1e6 <= step + 1e-9
        assert step <= microseconds / 1e6 * 1.001 + 2e-6


def test_ends_and_mean_are_exact():
    times = filled([0.001, 0.002, 0.0070001])
    assert times.smallest_s == 0.001
    assert times.quantile(1.0) == times.largest_s == 0.0070001
    assert times.total_s / times.count == pytest.approx(0.01 / 3, rel=1e-4)


def test_nothing_is_no_error():
    assert Histogram().quantile(0.5) == 0.0
    assert Histogram().summary_ms() == {"n": 0}
    assert Histogram().share_within(1) == 1.0
    assert Histogram().corrected(0.1).count == 0


def test_the_correction_adds_what_was_not_sent():
    times = filled([0.01] * 99 + [1.0])
    fixed = times.corrected(0.01)
    assert fixed.count in (99 + 99, 99 + 100)  # the last one is as long as the interval
    assert times.quantile(0.95) == pytest.approx(0.01, rel=2e-3)
    assert fixed.quantile(0.95) == pytest.approx(0.9, rel=0.02)


def test_the_correction_changes_nothing_where_nothing_stalled():
    times = filled([0.01] * 100)
    assert times.corrected(0.01).summary_ms() == times.summary_ms()


def test_the_correction_is_bounded():
    assert filled([1e-6, 3600.0]).corrected(1e-6).count < 3 * MOST_ADDED


def test_share_within():
    assert filled([0.01] * 9 + [1.0]).share_within(0.5) == 0.9
