"""Local descriptors of one length, except where there is nothing to see."""

from __future__ import annotations

from enum import Enum

import numpy as np

from clearsight.learn.onnx_graph import GraphBuilder

CONTRAST = 1.0
"""Grey levels of gradient at which a window counts half; noise stays below."""
TINY = 1e-6


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
    norm = graph.add("ReduceL2", vectors, axes=[2], keepdims=1)
    squares = graph.add("Mul", norm, norm)
    seen = graph.add("Div", squares, graph.add("Add", squares, graph.constant(CONTRAST**2)))
    if clip is not None:
        vectors = graph.add("Min", vectors, graph.add("Mul", norm, graph.constant(clip)))
    if length is Length.L2:
        norm = graph.add("ReduceL2", vectors, axes=[2], keepdims=1)
        whole = graph.add("Add", norm, graph.constant(TINY))
        return graph.add("Mul", vectors, graph.add("Div", seen, whole))
    total = graph.add("ReduceSum", vectors, graph.constant([2], np.int64), keepdims=1)
    whole = graph.add("Add", total, graph.constant(TINY))
    scale = graph.add("Div", graph.add("Mul", seen, seen), whole)
    return graph.add("Sqrt", graph.add("Mul", vectors, scale))
