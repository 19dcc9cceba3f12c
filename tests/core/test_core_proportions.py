"""Intervals of proportions against SciPy."""

import pytest

from clearsight.core.proportions import clopper_pearson_low, wilson

stats = pytest.importorskip("scipy.stats")
CASES = [(0, 10), (1, 10), (9, 10), (10, 10), (500, 1000), (999, 1000), (1000, 1000)]


@pytest.mark.parametrize(("successes", "n"), CASES)
def test_wilson_is_scipys(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), CASES)
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_the_certain_lower_end_is_the_beta_quantile(successes, n, alpha):
    expected = stats.beta.ppf(alpha, successes, n - successes + 1) if successes else 0.0
    assert clopper_pearson_low(successes, n, alpha) == pytest.approx(expected, abs=1e-9)


def test_no_trials_say_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
