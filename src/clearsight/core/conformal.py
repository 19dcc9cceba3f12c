"""Conformal sets: classes of which the true one is among as often as was promised.

The quantile of a score over held-out pictures says how unlikely the truth may look; a new picture's
set holds every class that looks no less likely. The promise needs nothing of the recognizer, only
that new pictures come about as the held-out ones did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from clearsight.core.config import Config
from clearsight.core.errors import DataError
from clearsight.core.nouns import Scores
from clearsight.core.seeds import generator

SetMethod = Literal["lac", "aps", "raps", "class-conditional"]
SET_METHODS: tuple[SetMethod, ...] = ("lac", "aps", "raps", "class-conditional")
LEVELS = (90, 95)
"""Per cent of pictures whose true class shall be in the set."""
LEAST_PICTURES = 100
LEAST_OF_A_CLASS = 20
"""Below this a class's own 95 % quantile would be its largest score, or none at all."""
EVERYTHING = 1e9
"""The threshold that lets every class into the set."""
PENALTIES = (0.001, 0.01, 0.1, 0.2, 0.5)
TUNING_SHARE = 0.3

Sets = NDArray[np.bool_]


class Conformal(Config):
    """Fitted conformal quantiles of a recognizer.

    Args:
        method: "lac": classes that are likely enough; "class-conditional": the same with a
            threshold for every class; "aps": the likeliest classes until they add up to enough;
            "raps": the same with a penalty on long sets. The last two are never empty.
        thresholds: by level in per cent ("90"): one number, or one a class.
        level: per cent; the level of the sets that predictions carry.
        penalty: of every class beyond `free_ranks` ("raps").
        free_ranks: classes that cost nothing ("raps").
        n: pictures it was fitted on.
        pooled: names of classes with too few pictures for a threshold of their own, which have
            the one of all classes ("class-conditional").
    """

    method: SetMethod
    thresholds: dict[str, tuple[float, ...]] = Field(min_length=1)
    level: int = Field(gt=0, lt=100)
    penalty: float = Field(default=0.0, ge=0)
    free_ranks: int = Field(default=0, ge=0)
    n: int = Field(ge=1)
    pooled: tuple[str, ...] = ()

    @field_validator("thresholds")
    @classmethod
    def _numbers(cls, thresholds: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        if not all(thresholds.values()) or not all(key.isdecimal() for key in thresholds):
            raise ValueError("every level in per cent needs at least one threshold")
        return thresholds

    @model_validator(mode="after")
    def _has_level(self) -> Conformal:
        if str(self.level) not in self.thresholds:
            raise ValueError(f"there are no thresholds for the level {self.level}")
        return self

    def sets(self, probabilities: Scores, level: int | None = None) -> Sets:
        """Return which classes are in the set of each picture.

        Args:
            probabilities: (n, k) calibrated.
            level: per cent, one of `thresholds`; None takes `level`.

        Returns:
            (n, k) bool.

        Example:
            >>> lac = Conformal(method="lac", thresholds={"90": (0.7,)}, level=90, n=100)
            >>> lac.sets(np.array([[0.6, 0.35, 0.05]], np.float32)).tolist()
            [[True, True, False]]
        """
        bounds = np.asarray(self.thresholds[str(level or self.level)])
        if self.method in ("lac", "class-conditional"):
            return np.asarray(_unlikeliness(probabilities) <= bounds)
        scores, order = _cumulated(probabilities, self.penalty, self.free_ranks)
        sizes = np.minimum((scores <= bounds).sum(axis=1) + 1, scores.shape[1])
        chosen = np.arange(scores.shape[1]) < sizes[:, None]
        found = np.zeros(scores.shape, dtype=np.bool_)
        np.put_along_axis(found, order, chosen, axis=1)
        return found


def fit_conformal(
    probabilities: Scores,
    labels: NDArray[np.integer],
    method: SetMethod,
    classes: Sequence[str],
    level: int = 95,
    levels: Sequence[int] = LEVELS,
) -> Conformal:
    """Fit conformal quantiles on held-out pictures.

    Args:
        probabilities: (n, k) calibrated, of pictures that training never saw.
        labels: (n,) indices of the true classes, in [0, k).
        method: see `Conformal`.
        classes: k names.
        level: per cent; of the sets that predictions carry, one of `levels`.
        levels: per cent, what is fitted.

    Returns:
        The quantiles; on new pictures the true class is in the set of level L with a
        probability of at least L per cent ("class-conditional": for every class that is not
        among `pooled`).

    Raises:
        DataError: fewer than 100 pictures.

    Source: Sadinle et al. 2019, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels"
        (LAC, and its class-conditional form); Romano et al. 2020, "Classification with Valid and
        Adaptive Coverage" (APS, without randomisation); Angelopoulos et al. 2021, "Uncertainty
        Sets for Image Classifiers using Conformal Prediction" (RAPS).
    """
    check_enough(len(labels))
    return fit_part(probabilities, labels, method, classes, level, levels)


def check_enough(n: int) -> None:
    """Pass when there are enough pictures for sets that keep what they promise.

    Raises:
        DataError: fewer than 100.
    """
    if n < LEAST_PICTURES:
        raise DataError(
            f"Conformal sets need at least {LEAST_PICTURES} held-out pictures, got {n}: "
            "none are given. Hold out more with --set split.val."
        )


def fit_part(
    probabilities: Scores,
    labels: NDArray[np.integer],
    method: SetMethod,
    classes: Sequence[str],
    level: int = 95,
    levels: Sequence[int] = LEVELS,
) -> Conformal:
    """Fit on a part of the pictures, however few, for cross-validation; see `fit_conformal`."""
    truth = np.asarray(labels, dtype=np.int64)
    fit = _fit_by_class if method == "class-conditional" else _fit_pooled
    return fit(probabilities, truth, method, classes, level, levels)


def _fit_pooled(
    probabilities: Scores,
    truth: NDArray[np.int64],
    method: SetMethod,
    classes: Sequence[str],
    level: int,
    levels: Sequence[int],
) -> Conformal:
    penalty, free_ranks = 0.0, 0
    if method == "raps":
        tuning = generator(0, "raps").permutation(len(truth)) < TUNING_SHARE * len(truth)
        penalty, free_ranks = _tuned(probabilities[tuning], truth[tuning], level)
        probabilities, truth = probabilities[~tuning], truth[~tuning]
    scores = _true_scores(probabilities, truth, method, penalty, free_ranks)
    return Conformal(
        method=method,
        thresholds={str(each): (_quantile(scores, each),) for each in levels},
        level=level,
        penalty=penalty,
        free_ranks=free_ranks,
        n=len(truth),
    )


def _fit_by_class(
    probabilities: Scores,
    truth: NDArray[np.int64],
    method: SetMethod,
    classes: Sequence[str],
    level: int,
    levels: Sequence[int],
) -> Conformal:
    scores = _true_scores(probabilities, truth, "lac")
    own = [scores[truth == column] for column in range(len(classes))]
    few = [len(part) < LEAST_OF_A_CLASS for part in own]
    return Conformal(
        method=method,
        thresholds={
            str(each): tuple(
                _quantile(scores if short else part, each)
                for part, short in zip(own, few, strict=True)
            )
            for each in levels
        },
        level=level,
        n=len(truth),
        pooled=tuple(name for name, short in zip(classes, few, strict=True) if short),
    )


def _true_scores(
    probabilities: Scores,
    truth: NDArray[np.int64],
    method: SetMethod,
    penalty: float = 0.0,
    free_ranks: int = 0,
) -> NDArray[np.float64]:
    """Return (n,): how unlikely each truth looks."""
    rows = np.arange(len(truth))
    if method in ("lac", "class-conditional"):
        return np.asarray(_unlikeliness(probabilities)[rows, truth])
    scores, order = _cumulated(probabilities, penalty, free_ranks)
    return np.asarray(scores[rows, (order == truth[:, None]).argmax(axis=1)])


def _unlikeliness(probabilities: Scores) -> NDArray[np.float64]:
    return 1 - np.asarray(probabilities, dtype=np.float64)


def _cumulated(
    probabilities: Scores, penalty: float, free_ranks: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return (n, k) what the likeliest 1, 2, ... classes add up to, and which they are."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(np.asarray(probabilities, dtype=np.float64), order, axis=1)
    beyond = np.maximum(np.arange(1, ranked.shape[1] + 1) - free_ranks, 0)
    return ranked.cumsum(axis=1) + penalty * beyond, order


def _quantile(scores: NDArray[np.float64], level: int) -> float:
    """Return the conformal quantile: the smallest score that covers `level` of n + 1."""
    place = math.ceil((len(scores) + 1) * level / 100)
    if place > len(scores):
        return EVERYTHING
    return float(np.partition(scores, place - 1)[place - 1])


def _tuned(probabilities: Scores, truth: NDArray[np.int64], level: int) -> tuple[float, int]:
    """Return the penalty and the free ranks of RAPS that make the smallest sets.

    Source: Angelopoulos et al. 2021, appendix E, algorithms 4 and 5.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranks = (order == truth[:, None]).argmax(axis=1).astype(np.float64) + 1
    free_ranks = int(min(_quantile(ranks, level), probabilities.shape[1]))
    sizes = {}
    for penalty in PENALTIES:
        scores = _true_scores(probabilities, truth, "raps", penalty, free_ranks)
        trial = Conformal(
            method="raps",
            thresholds={str(level): (_quantile(scores, level),)},
            level=level,
            penalty=penalty,
            free_ranks=free_ranks,
            n=len(truth),
        )
        sizes[penalty] = float(trial.sets(probabilities).sum(axis=1).mean())
    return min(sizes, key=lambda penalty: sizes[penalty]), free_ranks
