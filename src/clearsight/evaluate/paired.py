"""Whether two recognizers differ on the same pictures: McNemar, the paired bootstrap, Holm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.evaluate.intervals import LEVEL

ROUNDS = 4_000
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


def mcnemar(only_first: int, only_second: int, luck: float = 0.0) -> float:
    """Return the exact two-sided p-value of two recognizers being right equally often.

    Pictures on which both are right, or both wrong, say nothing about which is better; of the
    others each should go either way with probability 1/2. Valid for any count, never above its
    nominal level.

    With `luck` the two are taken for two trainings that could have come out otherwise: the share
    of those pictures that goes to one of them varies from training to training around 1/2, after
    a symmetric beta distribution, and the count follows its beta-binomial.

    Args:
        only_first: pictures that the first alone recognised.
        only_second: pictures that the second alone recognised.
        luck: the correlation between such pictures that trainings bring, in [0, 1); the share's
            variance is luck / 4. 0 compares the two as they are.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated
        proportions"; exact form and use in Dietterich 1998, "Approximate Statistical Tests for
        Comparing Supervised Classification Learning Algorithms". Beta-binomial: Skellam 1948, "A
        probability distribution derived from the binomial distribution by regarding the
        probability of success as variable between the sets of trials".

    Example:
        >>> round(mcnemar(8, 1), 7), round(mcnemar(8, 1, luck=0.1), 4)
        (0.0390625, 0.1414)
    """
    n = only_first + only_second
    if only_first == only_second:
        return 1.0
    k = np.arange(n, dtype=np.float64)
    steps = np.log((n - k) / (k + 1))  # from the chance of k to that of k + 1
    if luck > 0:
        shape = (1 / luck - 1) / 2
        steps += np.log((k + shape) / (n - k - 1 + shape))
    log_chances = np.concatenate(([0.0], np.cumsum(steps)))
    chances = np.exp(log_chances - log_chances.max())
    tail = chances[: min(only_first, only_second) + 1].sum()
    return min(1.0, 2 * float(tail / chances.sum()))


def luck_between_classes(first: Correct, second: Correct, labels: NDArray[np.int64]) -> float:
    """Return the `luck` that two recognizers show by how unevenly they win from class to class.

    A training that came out otherwise is better here and worse there: with every picture an
    affair of its own, the share of won pictures would be the same in every class up to chance.
    How much more it varies (Pearson's statistic over its degrees of freedom) is how much larger
    the variance of all wins is; a truly better recognizer pays for being better unevenly.

    Args:
        first, second: (n,) bool, whether each picture was recognised.
        labels: (n,) int64, the true classes.

    Returns:
        `luck` for `mcnemar`, in [0, 1); 0 where the classes vary no more than chance lets them.

    Source: Williams 1982, "Extra-Binomial Variation in Logistic Linear Models" (the moment
        estimator); Durkalski et al. 2003, "Analysis of Clustered Matched-Pair Data" (a McNemar
        test whose variance comes from clusters, here the classes).
    """
    only_first = np.bincount(labels[first & ~second], minlength=int(labels.max()) + 1)
    only_second = np.bincount(labels[second & ~first], minlength=len(only_first))
    wins, counts = only_first, only_first + only_second
    n, share = int(counts.sum()), wins.sum() / max(1, counts.sum())
    freedom = int((counts > 0).sum()) - 1
    if freedom < 1 or share in (0.0, 1.0):
        return 0.0
    seen = counts > 0
    expected = share * counts[seen]
    pearson = float(((wins[seen] - expected) ** 2 / (expected * (1 - share))).sum())
    return min(0.99, max(0.0, (pearson / freedom - 1) / (n - 1)))


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
    level: float = LEVEL,
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
