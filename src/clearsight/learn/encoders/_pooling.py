"""What encoders share: regions of the picture, and assignment to the words of a codebook."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clearsight.learn.encoders import Learnt, Points
from clearsight.learn.onnx_graph import GraphBuilder

Assignment = Literal["soft", "hard"]
TINY = 1e-12


def regions(points: Points, levels: tuple[int, ...]) -> NDArray[np.float32]:
    """Return (regions, points): 1 where a point is in a region; level 2 is 2x2 regions.

    Source: Lazebnik, Schmid and Ponce 2006, "Beyond Bags of Features" (the spatial pyramid).
    """
    rows = []
    for level in levels:
        cell = np.minimum((points * level).astype(np.int64), level - 1)
        number = cell[:, 0] * level + cell[:, 1]
        rows += [(number == region).astype(np.float32) for region in range(level**2)]
    return np.array(rows, dtype=np.float32)


def region_count(levels: tuple[int, ...]) -> int:
    """Return how many regions the levels have in all."""
    return sum(level**2 for level in levels)


def assigned(graph: GraphBuilder, vectors: str, learnt: Learnt, how: Assignment) -> str:
    """Return each vector's share in each word (n, points, words); shares of a vector sum to 1.

    Soft shares are exp(-|x - word|^2 / s), made to sum to 1, with s the mean squared distance of
    a training vector to its word times `softness`.

    Source: van Gemert et al. 2010, "Visual Word Ambiguity" (codeword uncertainty).

    Args:
        vectors: tensor (n, points, d) float32.
        learnt: "words" (k, d) and "bandwidth" (1,), see above.
        how: "hard" gives all of a vector to its nearest word.
    """
    words, bandwidth = learnt["words"].astype(np.float64), float(learnt["bandwidth"][0])
    products = graph.add("MatMul", vectors, graph.constant((2 / bandwidth) * words.T))
    offset = graph.constant(-np.square(words).sum(axis=1) / bandwidth)
    nearness = graph.add("Add", products, offset)
    if how == "soft":
        return graph.add("Softmax", nearness, axis=2)
    best = graph.add("ReduceMax", nearness, axes=[2], keepdims=1)
    chosen = graph.add("Cast", graph.add("Equal", nearness, best), to=1)
    total = graph.add("ReduceSum", chosen, graph.constant([2], np.int64), keepdims=1)
    return graph.add("Div", chosen, total)


def weighted_regions(graph: GraphBuilder, vectors: str, inside: NDArray[np.float32]) -> str:
    """Return (n, regions, points): `inside` times the vectors' squared lengths, flat ones 0."""
    squares = graph.add("Mul", vectors, vectors)
    weights = graph.add("ReduceSum", squares, graph.constant([2], np.int64), keepdims=1)
    turned = graph.add("Transpose", weights, perm=[0, 2, 1])
    return graph.add("Mul", graph.constant(inside), turned)


def unit(graph: GraphBuilder, values: str, axis: int) -> str:
    """Return values divided by their L2 norm along an axis; zeros stay zeros."""
    squares = graph.add("Mul", values, values)
    total = graph.add("ReduceSum", squares, graph.constant([axis], np.int64), keepdims=1)
    norm = graph.add("Sqrt", graph.add("Add", total, graph.constant(TINY)))
    return graph.add("Div", values, norm)
