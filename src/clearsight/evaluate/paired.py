"""Whether two recognizers differ on the same pictures: McNemar, the paired bootstrap, Holm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 10_000
CELLS_AT_MOST = 20_000_000
"""Resamples times cells of one pair's table; with very many classes there are fewer resamples."""

Correct = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much the first recognizer is better.

    Args:
        value: first minus second, in [-1, 1].
        low, high: the interval's ends.
    """

    value: float
    low: float
    high: float


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of two recognizers being right equally often.

    Pictures on which both are right, or both wrong, say nothing about which is better; of the
    others each should go either way with probability 1/2. Never above its nominal level, and
    valid for any count.

    Args:
        only_first: pictures that the first alone recognised.
        only_second: pictures that the second alone recognised.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated
        proportions"; the exact form in Dietterich 1998, "Approximate Statistical Tests for
        Comparing Supervised Classification Learning Algorithms", recommended there where every
        algorithm is trained once.

    Example:
        >>> round(mcnemar(8, 1), 7)
        0.0390625
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    k = np.arange(fewer + 1)
    terms = log_factorial[n] - log_factorial[k] - log_factorial[n - k] - n * np.log(2)
    largest = terms.max()
    tail = float(np.exp(largest + np.log(np.exp(terms - largest).sum())))
    return min(1.0, 2 * tail)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being many, in the order given.

    Calling those at most `level` different makes one wrong call or more with a probability of at
    most `level`, however the tests depend on one another.

    Args:
        p_values: of m tests, in [0, 1].

    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def paired_bootstrap(
    first: Correct,
    second: Correct,
    labels: NDArray[np.int64],
    level: float,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> tuple[Difference, Difference]:
    """Return the differences in accuracy and in balanced accuracy with percentile intervals.

    Pictures are drawn with replacement, both answers of a picture together. What a resample
    holds is a table of counts (class by first better, equal, second better), so the tables are
    drawn from their multinomial distribution, which is the same and costs nothing. Class sizes
    vary from draw to draw as they would from one collection of pictures to the next, and a class
    that a draw misses is left out of its balanced accuracy: strata would call a class of one
    picture certain. Two recognizers that agree on every picture get the exact bound on how often
    they may disagree instead of an interval of no width.

    Args:
        first, second: (n,) bool, whether each picture was recognised.
        labels: (n,) int64, the true classes.
        level: confidence, in (0, 1).
        seed: fixes the draws; swapping the two mirrors the result exactly.
        rounds: resamples, fewer where classes are very many.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", sections 13.3 and 16.
    """
    sign = first.astype(np.int64) - second.astype(np.int64)
    discordant = np.flatnonzero(sign)
    if not len(discordant):
        sizes = np.bincount(labels)
        most = float(_most(sizes[sizes > 0], level).mean())
        all_of_them = float(_most(np.array([len(labels)]), level)[0])
        return Difference(0.0, -all_of_them, all_of_them), Difference(0.0, -most, most)
    forward = int(sign[discordant[0]])
    cells, counts = np.unique(labels * 3 + sign * forward + 1, return_counts=True)
    steps = cells % 3 - 1
    starts = np.flatnonzero(np.diff(cells // 3, prepend=-1))
    rounds = max(500, min(rounds, CELLS_AT_MOST // len(cells)))
    tables = np.random.default_rng(seed).multinomial(len(labels), counts / len(labels), rounds)
    drawn = _differences(tables, steps, starts)
    found = _differences(counts[None], steps, starts)
    accuracy, balanced = (
        _percentiles(float(value[0]), spread, level, forward)
        for value, spread in zip(found, drawn, strict=True)
    )
    return accuracy, balanced


def _differences(
    tables: NDArray[np.int64], steps: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the differences (rounds,) of tables (rounds, cells): accuracy and balanced."""
    wins = np.add.reduceat(tables * steps, starts, axis=1)
    pictures = np.add.reduceat(tables, starts, axis=1)
    present = pictures > 0
    recalls = np.divide(wins, pictures, out=np.zeros(wins.shape), where=present)
    return wins.sum(axis=1) / pictures.sum(axis=1), recalls.sum(axis=1) / present.sum(axis=1)


def _percentiles(
    value: float, drawn: NDArray[np.float64], level: float, forward: int
) -> Difference:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    if forward > 0:
        return Difference(value, float(low), float(high))
    return Difference(-value, -float(high), -float(low))


def _most(n: NDArray[np.int64], level: float) -> NDArray[np.float64]:
    """Return the Clopper-Pearson bound on a rate that was 0 of `n`."""
    return np.asarray(1 - ((1 - level) / 2) ** (1 / n))
