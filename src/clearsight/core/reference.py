"""What a recognizer gave for its validation pictures: what it gives later is compared with this.

Training writes it into the Bundle, the drift monitor of the service reads it. It holds counts and
moments only: no picture and no single picture's features can be read out of it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from clearsight.core.config import Config
from clearsight.core.nouns import Scores

DIRECTIONS = 32
"""Embeddings are looked at in so many fixed directions, whatever their length."""
SCORE_BINS = 10
GRID = 0.001
LEAST_FEATURES = 32
"""Fewer embeddings than this tell too little about their spread to be a reference."""


class Features(Config):
    """Embeddings of validation pictures, in fixed directions.

    Args:
        n: pictures.
        dimension: length of an embedding.
        means, deviations: of each direction; a direction that never varies has deviation 0.
        square_deviations: spread of each direction's squared standard score.
        eigenvalues: of the correlation of all standard scores and their squares; how far the
            means of a window may be off by chance follows from them.
    """

    n: int = Field(ge=2)
    dimension: int = Field(ge=1)
    means: tuple[float, ...] = Field(max_length=DIRECTIONS)
    deviations: tuple[float, ...] = Field(max_length=DIRECTIONS)
    square_deviations: tuple[float, ...] = Field(max_length=DIRECTIONS)
    eigenvalues: tuple[float, ...] = Field(max_length=2 * DIRECTIONS)

    @model_validator(mode="after")
    def _same_length(self) -> Features:
        wanted = min(self.dimension, DIRECTIONS)
        lengths = {len(self.means), len(self.deviations), len(self.square_deviations)}
        if lengths != {wanted}:
            raise ValueError(f"means and deviations must hold {wanted} numbers")
        return self


class Reference(Config):
    """Answers for validation pictures, counted.

    Args:
        n: pictures.
        class_counts: how often each class was the best one, in the order of the classes.
        score_edges: between the bins of the best score, rising.
        score_counts: pictures a bin; one more than edges.
        features: of the embeddings, where the model gives any.
    """

    n: int = Field(ge=1)
    class_counts: tuple[int, ...] = Field(min_length=2)
    score_edges: tuple[float, ...] = Field(max_length=SCORE_BINS)
    score_counts: tuple[int, ...] = Field(min_length=1)
    features: Features | None = None

    @model_validator(mode="after")
    def _sums(self) -> Reference:
        if sum(self.class_counts) != self.n or sum(self.score_counts) != self.n:
            raise ValueError("the counts must add up to n")
        if len(self.score_counts) != len(self.score_edges) + 1:
            raise ValueError("there must be one more bin than edges")
        return self


def reference_of(probabilities: Scores, embeddings: NDArray[np.float32] | None = None) -> Reference:
    """Summarise what a recognizer gives for pictures like those it was made for.

    Args:
        probabilities: (n, classes) calibrated.
        embeddings: (m, d) of some of the same pictures; None, or fewer than `LEAST_FEATURES`,
            leaves features out.

    Example:
        >>> reference_of(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)).class_counts
        (1, 1)
    """
    best = probabilities.max(axis=1)
    edges = score_edges(best)
    counts = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    bins = np.bincount(np.searchsorted(edges, best, side="right"), minlength=len(edges) + 1)
    enough = embeddings is not None and len(embeddings) >= LEAST_FEATURES
    return Reference(
        n=len(probabilities),
        class_counts=tuple(int(count) for count in counts),
        score_edges=tuple(float(edge) for edge in edges),
        score_counts=tuple(int(count) for count in bins),
        features=features_of(embeddings) if enough and embeddings is not None else None,
    )


def score_edges(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return edges that cut scores into about equal parts, none where many scores lie.

    An edge lies half a grid step from every multiple of `GRID`, so that a score of exactly 1 or
    0.5 that another engine gives as 0.9999999 stays in its bin.

    Args:
        scores: (n,) in [0, 1].
    """
    cuts = np.quantile(np.asarray(scores, np.float64), np.arange(1, SCORE_BINS) / SCORE_BINS)
    steps = np.unique(np.round(cuts / GRID).astype(np.int64))
    return np.asarray((steps[steps > 0] - 0.5) * GRID, np.float64)


def features_of(embeddings: NDArray[np.float32]) -> Features:
    """Summarise embeddings (n, d), n >= 2."""
    seen = project(embeddings).astype(np.float64)
    means, deviations = seen.mean(axis=0), seen.std(axis=0)
    deviations[deviations < 1e-9 * (1 + np.abs(means))] = 0.0
    moments = standard_moments(seen, means, deviations)
    width = len(means)
    spread = moments.std(axis=0)
    spread[spread < 1e-9] = 0.0
    varying = moments[:, spread > 0]
    eigenvalues = _correlation_eigenvalues(varying) if varying.shape[1] else np.zeros(0)
    return Features(
        n=len(embeddings),
        dimension=embeddings.shape[1],
        means=_rounded(means),
        deviations=_rounded(deviations),
        square_deviations=_rounded(spread[width:]),
        eigenvalues=_rounded(eigenvalues),
    )


def standard_moments(
    projected: NDArray[np.float64], means: NDArray[np.float64], deviations: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return standard scores and their squares (n, 2k); 0 in directions that never vary."""
    scale = np.where(deviations > 0, deviations, 1.0)
    standard = np.where(deviations > 0, (projected - means) / scale, 0.0)
    return np.concatenate([standard, standard**2], axis=1)


def project(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return embeddings (n, d) in the fixed directions (n, min(d, `DIRECTIONS`))."""
    if embeddings.shape[1] <= DIRECTIONS:
        return embeddings
    projected: NDArray[np.float32] = embeddings @ directions(embeddings.shape[1])
    return projected


@lru_cache(maxsize=16)
def directions(dimension: int, count: int = DIRECTIONS) -> NDArray[np.float32]:
    """Return (dimension, count) of +-1 / sqrt(dimension), the same for ever.

    The signs come from SHAKE-128 and not from a random number generator, whose stream may change
    from one version to the next.
    """
    bits = dimension * count
    stream = hashlib.shake_128(b"clearsight reference").digest((bits + 7) // 8)
    signs = np.unpackbits(np.frombuffer(stream, np.uint8))[:bits].astype(np.float32) * 2 - 1
    return signs.reshape(dimension, count) / np.float32(np.sqrt(dimension))


def _correlation_eigenvalues(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the eigenvalues of the correlation matrix, the largest first, none below 0."""
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    correlation = standard.T @ standard / len(values)
    return np.clip(np.linalg.eigvalsh(correlation)[::-1], 0.0, None)


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Return numbers of 6 digits: a manifest stays readable."""
    return tuple(float(f"{value:.6g}") for value in values)
