"""Local descriptors of one length, except where there is nothing to see."""

from __future__ import annotations

from enum import Enum

import numpy as np

from clearsight.learn.onnx_graph import GraphBuilder

CONTRAST = 1.0
"""Grey levels of gradient at which a window counts half; noise stays below."""
TINY = 1e-12


class Length(Enum):
    """What the numbers of a vector are divided by."""

    L2 = "their L2 norm"
    ROOT = "their sum, then the square root is taken"


def normalised(
    graph: GraphBuilder, vectors: str, clip: float | None, length: Length = Length.L2
) -> str:
    """Return vectors (n, points, d) of length 1, or down to 0 where the contrast is low.

    Args:
        vectors: sums of gradients in grey levels; not negative if `clip` or the root is wanted.
        clip: largest number of a vector of length 1 before the second normalisation.
        length: how the length is made 1.
    """
    squares = _sum(graph, graph.add("Mul", vectors, vectors))
    seen = graph.add("Div", squares, graph.add("Add", squares, graph.constant(CONTRAST**2)))
    norm = graph.add("Sqrt", graph.add("Add", squares, graph.constant(TINY)))
    if clip is not None:
        vectors = graph.add("Min", graph.add("Div", vectors, norm), graph.constant(clip))
        squares = _sum(graph, graph.add("Mul", vectors, vectors))
        norm = graph.add("Sqrt", graph.add("Add", squares, graph.constant(TINY)))
    if length is Length.L2:
        return graph.add("Mul", vectors, graph.add("Div", seen, norm))
    total = graph.add("Add", _sum(graph, vectors), graph.constant(TINY))
    scale = graph.add("Div", graph.add("Mul", seen, seen), total)
    return graph.add("Sqrt", graph.add("Mul", vectors, scale))


def _sum(graph: GraphBuilder, values: str) -> str:
    return graph.add("ReduceSum", values, graph.constant([2], np.int64), keepdims=1)
