"""k-means that is the same bit for bit: one BLAS thread, seeded, sums in the order of the rows."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from clearsight.core.seeds import generator

ROUNDS = 10
DRAWN = 4
"""Vectors drawn for each centre, to find distinct ones."""
CHUNK = 8192
Vectors = NDArray[np.float32]


def kmeans(
    vectors: Vectors, k: int, seed: int, deadline: float | None = None
) -> tuple[Vectors, float]:
    """Return centres (at most k, d) and the mean squared distance of a vector to its own.

    Lloyd's rounds from distinct vectors drawn at random; a centre without vectors takes one that
    is far from its own.

    Args:
        vectors: (m, d) float32, m >= 1.
        k: how many centres; fewer where too few of those drawn are distinct.
        seed: the only source of randomness.
        deadline: `time.monotonic()` value after which no round begins (one always does).

    Source: Lloyd 1982, "Least squares quantization in PCM".
    """
    from threadpoolctl import threadpool_limits

    order = generator(seed, "kmeans").permutation(len(vectors))
    centres = np.unique(vectors[order[: DRAWN * k]], axis=0)
    centres = centres[np.sort(generator(seed, "centres").permutation(len(centres))[:k])]
    with threadpool_limits(1, "blas"):
        for _ in range(ROUNDS):
            nearest, squares = _assigned(vectors, centres)
            centres = _means(vectors, nearest, squares, centres)
            if deadline is not None and time.monotonic() > deadline:
                break
        _, squares = _assigned(vectors, centres)
    return centres, float(squares.mean())


def _assigned(vectors: Vectors, centres: Vectors) -> tuple[NDArray[np.int64], Vectors]:
    """Each vector's nearest centre and its squared distance."""
    lengths = np.square(centres).sum(axis=1)
    nearest = np.empty(len(vectors), np.int64)
    squares = np.empty(len(vectors), np.float32)
    for begin in range(0, len(vectors), CHUNK):
        part = vectors[begin : begin + CHUNK]
        apart = lengths - 2 * (part @ centres.T)
        best = apart.argmin(axis=1)
        rows = slice(begin, begin + len(part))
        nearest[rows] = best
        squares[rows] = apart[np.arange(len(part)), best] + np.square(part).sum(axis=1)
    return nearest, np.maximum(squares, 0)


def _means(
    vectors: Vectors, nearest: NDArray[np.int64], squares: Vectors, centres: Vectors
) -> Vectors:
    order = np.argsort(nearest, kind="stable")
    words, begins, counts = np.unique(nearest[order], return_index=True, return_counts=True)
    moved = centres.copy()
    moved[words] = np.add.reduceat(vectors[order], begins, axis=0) / counts[:, None]
    empty = np.setdiff1d(np.arange(len(centres)), words)
    if len(empty):
        moved[empty] = vectors[np.argsort(-squares, kind="stable")[: len(empty)]]
    return np.asarray(moved, dtype=np.float32)
