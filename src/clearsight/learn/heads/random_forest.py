"""Random forest: many deep trees on bootstrap samples, their class shares averaged."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Scores
from clearsight.core.progress import Progress
from clearsight.core.seeds import generator
from clearsight.learn.heads import Features, Labels
from clearsight.learn.heads._graph import HeadGraph
from clearsight.learn.heads._present import Present, accuracy
from clearsight.learn.heads._trees import NODE_BYTES, Tree, Trees

LEAST_SHARE = 1e-6
"""A class that no tree votes for gets this probability, for the logarithm."""
TIMED_ROWS = 1000
FEWEST_TREES = 16
FEWEST_ROWS = 64
TIME_SHARE = 0.8
BATCHES = 10
SUMMED = 4096
"""Numbers of leaves that the exported model holds for one row at a time."""


class RandomForest:
    """Scores are log((1/T) sum_t p_t(x)), p_t the class shares of training rows in x's leaf.

    A split looks at a random part of the columns and takes the one with the least Gini impurity.

    Source: Breiman, "Random Forests", Machine Learning 45, 2001 (bootstrap and random columns);
        the fit is scikit-learn's RandomForestClassifier (means of shares instead of votes).
    """

    class Config(BaseConfig):
        """Options of the head.

        Args:
            trees: most trees; fewer when time is short.
            depth: most levels of a tree.
            smallest_leaf: fewest rows in a leaf.
            column_share: part of the columns that a split looks at; None takes the square root.
            model_bytes: most that the trees may take in the exported model; it bounds the leaves
                of each tree.
        """

        trees: int = Field(default=300, ge=1, le=5000)
        depth: int = Field(default=20, ge=1, le=64)
        smallest_leaf: int = Field(default=1, ge=1)
        column_share: float | None = Field(default=None, gt=0, le=1)
        model_bytes: int = Field(default=2**26, ge=2**16)

    def __init__(self, config: RandomForest.Config) -> None:
        self.config = config

    def fit(
        self,
        train: tuple[Features, Labels],
        val: tuple[Features, Labels],
        classes: int,
        seed: int,
        deadline: float | None,
        progress: Progress,
    ) -> FittedForest:
        """Grow trees until there are enough or the time is over; at least one for each core."""
        present = Present.of(train[1], classes)
        features, labels = present.compact(train)
        features = np.asarray(features)
        leaves = self._leaves(len(present))
        model = self._model(leaves, seed)
        progress.start("growing trees", self.config.trees, "trees")
        rows = self._affordable_rows(features, labels, leaves, seed, deadline)
        if rows < len(labels):
            model.set_params(max_samples=rows)
            progress.say(
                f"each tree sees {rows} of {len(labels)} rows",
                reason="trees on all of them would take longer than there is time",
            )
        grown, wanted, began = 0, self._first_batch(deadline), time.monotonic()
        while grown < wanted:
            model.set_params(n_estimators=wanted).fit(features, labels)
            progress.advance(wanted - grown)
            grown, wanted = wanted, self._next_total(wanted, began, deadline)
        progress.finish()
        trees = Trees.join([_tree(estimator.tree_) for estimator in model.estimators_])
        story: dict[str, Any] = {
            "trees": grown,
            "depth": trees.depth,
            "nodes": len(trees.feature),
            "rows_per_tree": rows,
        }
        fitted = FittedForest(trees, present, story)
        story["val_accuracy"] = accuracy(fitted.scores(val[0]), val[1])
        return fitted

    def _leaves(self, classes: int) -> int:
        """Most leaves of one tree, so that all trees fit `model_bytes`."""
        return max(
            2, self.config.model_bytes // self.config.trees // (2 * NODE_BYTES + 4 * classes)
        )

    def _model(self, leaves: int, seed: int) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            max_depth=self.config.depth,
            max_leaf_nodes=leaves,
            min_samples_leaf=self.config.smallest_leaf,
            max_features=self.config.column_share or "sqrt",
            random_state=int(generator(seed, "random forest").integers(2**31)),
            n_jobs=os.cpu_count(),
            warm_start=True,
        )

    def _affordable_rows(
        self, features: Features, labels: Labels, leaves: int, seed: int, deadline: float | None
    ) -> int:
        """Rows for each tree so that a few trees fit the time, by the pace on a few rows."""
        n = len(labels)
        if deadline is None or n <= TIMED_ROWS:
            return n
        few = generator(seed, "timed rows").permutation(n)[:TIMED_ROWS]
        began = time.monotonic()
        self._model(leaves, seed).set_params(n_estimators=1).fit(features[few], labels[few])
        pace = (time.monotonic() - began) / (TIMED_ROWS * np.log2(TIMED_ROWS))
        left = max(0.0, deadline - time.monotonic()) * TIME_SHARE * (os.cpu_count() or 1)
        rows = left / FEWEST_TREES / (pace * np.log2(n))
        return int(min(n, max(FEWEST_ROWS, rows)))

    def _first_batch(self, deadline: float | None) -> int:
        if deadline is None:
            return max(1, self.config.trees // BATCHES)
        return min(self.config.trees, os.cpu_count() or 1)

    def _next_total(self, grown: int, began: float, deadline: float | None) -> int:
        """How many trees to have after the next batch; `grown` when it is time to end."""
        if deadline is None:
            more = self.config.trees // BATCHES
        else:
            pace = (time.monotonic() - began) / grown
            cores = os.cpu_count() or 1
            left = (deadline - time.monotonic()) * TIME_SHARE / pace
            more = min(int(left), max(grown, cores)) if left >= cores else 0
            return min(self.config.trees, grown + more)
        return min(self.config.trees, grown + max(1, more))


@dataclass(frozen=True)
class FittedForest:
    """Trees whose leaves hold class shares.

    Args:
        trees: with one value for each class that has pictures.
        present: which these are.
        story: how they grew.
    """

    steps: ClassVar[bool] = True

    trees: Trees
    present: Present
    story: dict[str, Any]

    def scores(self, features: Features) -> Scores:
        """Return (n, classes) float32 log-probabilities."""
        scores = np.zeros((len(features), len(self.present)), np.float32)
        step = min(self.trees.chunk(), max(1, 2**22 // len(self.present)))
        for begin in range(0, len(features), step):
            leaves = self.trees.leaves(features[begin : begin + step])
            part = scores[begin : begin + step]
            for tree in range(leaves.shape[1]):
                part += self.trees.values[leaves[:, tree]]
        scores /= np.float32(len(self.trees.roots))
        return self.present.widen(np.log(np.maximum(scores, np.float32(LEAST_SHARE))))

    def append(self, features_model: bytes) -> bytes:
        """Return the model with the walk through the trees behind it."""
        graph = HeadGraph(features_model)
        leaves = self.trees.append(graph)
        values, count = graph.constant(self.trees.values), len(self.trees.roots)
        step, total = max(1, SUMMED // len(self.present)), ""
        for begin in range(0, count, step):
            part = leaves
            if step < count:
                ends = [graph.constant([x], np.int64) for x in (begin, min(count, begin + step), 1)]
                part = graph.add("Slice", leaves, *ends)
            shares = graph.add("Gather", values, part)
            axes = graph.constant([1], np.int64)
            summed = graph.add("ReduceSum", shares, axes, keepdims=0)
            total = graph.add("Add", total, summed) if total else summed
        mean = graph.add("Div", total, graph.constant(count))
        limited = graph.add("Max", mean, graph.constant(LEAST_SHARE))
        return self.present.append(graph, graph.add("Log", limited))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the trees and the numbers of the present classes."""
        return {**self.trees.arrays(), "head.classes": self.present.labels}


def _tree(tree: Any) -> Tree:
    """Read scikit-learn's arrays; the shares of a node sum to 1."""
    value = tree.value[:, 0, :]
    return Tree(
        feature=tree.feature,
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left,
        right=tree.children_right,
        leaf=tree.children_left < 0,
        value=value / value.sum(axis=1, keepdims=True),
    )
