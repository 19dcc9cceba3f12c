"""Accuracy on parts of the data: small, dark, from this camera; the worst parts are named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.proportions import wilson

LEAST_PICTURES = 20
MOST_VALUES = 20
"""A column of text with more values than this says something else of nearly every picture."""
CHANCE = 0.05
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of the pictures.

    Args:
        column: what was looked at.
        value: which pictures: a column's value, or a range of it.
        accuracy: share of them that is right.
        low, high: its 95 % Wilson interval.
        n: pictures.
        rest: accuracy of the other pictures that have a value in the column.
        p: probability of so large a difference from the rest by chance, corrected for the number
            of slices (Holm).
        worse: the accuracy is lower than the rest's by more than chance (p < 0.05).
    """

    column: str
    value: str
    accuracy: float
    low: float
    high: float
    n: int
    rest: float
    p: float
    worse: bool

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "column": self.column,
            "value": self.value,
            "accuracy": self.accuracy,
            "accuracy_ci": [self.low, self.high],
            "n": self.n,
            "rest": self.rest,
            "p": self.p,
            "worse": self.worse,
        }


@dataclass(frozen=True)
class _Part:
    column: str
    value: str
    inside: NDArray[np.bool_]
    known: NDArray[np.bool_]


def slices(
    numbers: Mapping[str, NDArray[np.float64]],
    texts: Mapping[str, Sequence[str | None]],
    correct: NDArray[np.bool_],
) -> tuple[Slice, ...]:
    """Return the accuracy of every slice with at least 20 pictures, the worst first.

    Args:
        numbers: by name, (n,) a measure of each picture, NaN where unknown; cut into thirds.
        texts: by name, a text for each picture, None where unknown; numbers as text are cut into
            thirds where they have more than 20 values.
        correct: (n,) whether the answer is right.

    Source: Fisher's z-test of two proportions; Holm 1979, "A Simple Sequentially Rejective
        Multiple Test Procedure".
    """
    parts = [part for name, values in numbers.items() for part in _thirds(name, values)]
    for name, told in texts.items():
        parts += _by_value(name, told)
    kept = [p for p in parts if p.inside.sum() >= LEAST_PICTURES and _others(p) >= LEAST_PICTURES]
    raw = [_chance(part, correct) for part in kept]
    found = [_slice(part, correct, p) for part, p in zip(kept, _holm(raw), strict=True)]
    return tuple(sorted(found, key=lambda item: (not item.worse, item.accuracy)))


def _others(part: _Part) -> int:
    return int((part.known & ~part.inside).sum())


def _thirds(name: str, values: NDArray[np.float64]) -> list[_Part]:
    """Cut a measure into thirds; nothing where it hardly varies."""
    known = np.isfinite(values)
    if not known.any():
        return []
    edges = np.unique(np.quantile(values[known], (1 / 3, 2 / 3)))
    lowest, highest = float(values[known].min()), float(values[known].max())
    edges = edges[(edges >= lowest) & (edges < highest)]
    if not len(edges):
        return []
    ends = [lowest, *(float(edge) for edge in edges), highest]
    place = np.searchsorted(edges, values, side="left")
    return [
        _Part(name, f"{ends[i]:.4g} to {ends[i + 1]:.4g}", known & (place == i), known)
        for i in range(len(ends) - 1)
    ]


def _by_value(name: str, told: Sequence[str | None]) -> list[_Part]:
    known = np.array([text is not None for text in told], dtype=np.bool_)
    kinds = sorted({text for text in told if text is not None})
    if len(kinds) > MOST_VALUES:
        if not all(NUMBER.fullmatch(kind) for kind in kinds):
            return []
        return _thirds(name, np.array([float("nan") if t is None else float(t) for t in told]))
    if len(kinds) < 2:
        return []
    every = np.array(["" if text is None else text for text in told])
    return [_Part(name, kind, known & (every == kind), known) for kind in kinds]


def _chance(part: _Part, correct: NDArray[np.bool_]) -> float:
    """Return the two-sided p of the difference between a slice and the rest."""
    inside, rest = correct[part.inside], correct[part.known & ~part.inside]
    pooled = (inside.sum() + rest.sum()) / (len(inside) + len(rest))
    error = (pooled * (1 - pooled) * (1 / len(inside) + 1 / len(rest))) ** 0.5
    if error == 0:
        return 1.0
    z = abs(float(inside.mean() - rest.mean())) / float(error)
    return 2 * (1 - NormalDist().cdf(z))


def _holm(chances: Sequence[float]) -> list[float]:
    """Return p values corrected for their number."""
    corrected, highest = [1.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda i: chances[i])):
        highest = max(highest, min(1.0, chances[place] * (len(chances) - rank)))
        corrected[place] = highest
    return corrected


def _slice(part: _Part, correct: NDArray[np.bool_], p: float) -> Slice:
    inside, rest = correct[part.inside], correct[part.known & ~part.inside]
    accuracy, others = float(inside.mean()), float(rest.mean())
    return Slice(
        column=part.column,
        value=part.value,
        accuracy=accuracy,
        low=wilson(int(inside.sum()), len(inside))[0],
        high=wilson(int(inside.sum()), len(inside))[1],
        n=len(inside),
        rest=others,
        p=p,
        worse=accuracy < others and p < CHANCE,
    )
