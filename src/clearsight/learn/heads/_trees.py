"""Decision trees as flat arrays: read from scikit-learn, walked in numpy and in plain ONNX.

Source: Nakandala et al., "A Tensor Compiler for Unified Machine Learning Prediction Serving",
    OSDI 2020, section 4.2 ("tree traversal": one round of gathers a level).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.learn.heads import Features
from clearsight.learn.heads._graph import HeadGraph

NODE_BYTES = 16
"""Of feature, threshold, first child and leaf."""
WALK_BYTES = 16 * 1024 * 1024
"""Of rows x trees that numpy walks at a time."""
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Tree:
    """One binary tree as its learner stores it: a row goes left where feature <= threshold.

    Args:
        feature, left, right: (nodes,) integers; only read at inner nodes. Node 0 is the root.
        threshold: (nodes,) float64.
        leaf: (nodes,) bool.
        value: (nodes, v) what a leaf says.
    """

    feature: NDArray[Any]
    threshold: NDArray[np.float64]
    left: NDArray[Any]
    right: NDArray[Any]
    leaf: NDArray[np.bool_]
    value: NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """Many trees in one set of arrays; children stand side by side, leaves point to themselves.

    Args:
        feature: (nodes,) column to look at; 0 in a leaf.
        threshold: (nodes,) float32; a row goes to `first` + (x > threshold); infinite in a leaf.
        first: (nodes,) the left child; the node itself in a leaf.
        place: (nodes,) row of `values` of a leaf; 0 elsewhere.
        roots: (trees,) nodes.
        values: (leaves, v) float32.
        depth: rounds after which every row is in a leaf.
    """

    feature: Ints
    threshold: NDArray[np.float32]
    first: Ints
    place: Ints
    roots: Ints
    values: NDArray[np.float32]
    depth: int

    @classmethod
    def join(cls, trees: Sequence[Tree]) -> Trees:
        """Renumber trees level by level and put them one behind the other."""
        parts, values, roots = [], [], []
        nodes = leaves = depth = 0
        for tree in trees:
            order, first, levels = _by_level(tree)
            leaf = tree.leaf[order]
            own = np.arange(len(order))
            part = {
                "feature": np.where(leaf, 0, tree.feature[order]),
                "threshold": np.where(leaf, np.inf, rounded_down(tree.threshold[order])),
                "first": nodes + np.where(leaf, own, first),
                "place": np.where(leaf, leaves + np.cumsum(leaf) - 1, 0),
            }
            parts.append(part)
            values.append(tree.value[order][leaf])
            roots.append(nodes)
            nodes, leaves, depth = nodes + len(order), leaves + int(leaf.sum()), max(depth, levels)

        def joined(name: str, dtype: Any) -> Any:
            return np.concatenate([part[name] for part in parts]).astype(dtype)

        return cls(
            joined("feature", np.int32),
            joined("threshold", np.float32),
            joined("first", np.int32),
            joined("place", np.int32),
            np.asarray(roots, np.int32),
            np.concatenate(values).astype(np.float32),
            depth,
        )

    def leaves(self, features: Features) -> Ints:
        """Return (n, trees): the row of `values` that each tree gives each row of features."""
        at = np.tile(self.roots, (len(features), 1))
        rows = np.arange(len(features))[:, None]
        for _ in range(self.depth):
            beyond = features[rows, self.feature[at]] > self.threshold[at]
            at = self.first[at] + beyond
        return self.place[at]

    def chunk(self) -> int:
        """Return how many rows of features to walk at a time."""
        return max(1, WALK_BYTES // (4 * len(self.roots)))

    def append(self, graph: HeadGraph) -> str:
        """Add the walk to a graph; return the tensor (n, trees) of rows of `values`."""
        feature, first, place = (
            graph.constant(array, np.int32) for array in (self.feature, self.first, self.place)
        )
        threshold = graph.constant(self.threshold)
        at = self._start(graph)
        for _ in range(self.depth):
            column = graph.add("Gather", feature, at)
            value = graph.add("GatherElements", graph.embedding, column, axis=1)
            beyond = graph.add("Greater", value, graph.add("Gather", threshold, at))
            step = graph.add("Cast", beyond, to=6)
            at = graph.add("Add", graph.add("Gather", first, at), step)
        return graph.add("Gather", place, at)

    def _start(self, graph: HeadGraph) -> str:
        """The roots, once for each row: (n, trees)."""
        rows = graph.add("Shape", graph.embedding, start=0, end=1)
        shape = graph.add("Concat", rows, graph.constant([len(self.roots)], np.int64), axis=0)
        return graph.add("Expand", graph.constant(self.roots[None], np.int32), shape)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays, for model.safetensors."""
        names = ("feature", "threshold", "first", "place", "roots", "values")
        return {f"head.{name}": getattr(self, name) for name in names}


def rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 that is no larger, so that a float32 x decides as before.

    Example:
        >>> float(rounded_down(np.array([0.1]))[0]) <= 0.1
        True
    """
    with np.errstate(over="ignore"):
        near = threshold.astype(np.float32)
    down: NDArray[np.float32] = np.nextafter(near, np.float32(-np.inf))
    return np.where(near > threshold, down, near)


def _by_level(tree: Tree) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the nodes level by level, the new number of each one's left child, and the depth."""
    level = np.zeros(1, np.int64)
    orders, firsts, known, depth = [], [], 1, 0
    while len(level):
        inner = ~tree.leaf[level]
        first = np.zeros(len(level), np.int64)
        first[inner] = known + 2 * np.arange(int(inner.sum()))
        orders.append(level)
        firsts.append(first)
        parents = level[inner]
        level = np.stack([tree.left[parents], tree.right[parents]], axis=1).astype(np.int64).ravel()
        known += len(level)
        depth += bool(len(level))
    return np.concatenate(orders), np.concatenate(firsts), depth
