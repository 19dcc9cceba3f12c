"""Gradient boosting: small trees in turn, each on what those before it leave wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Scores
from clearsight.core.progress import Progress
from clearsight.core.seeds import generator
from clearsight.learn import linear
from clearsight.learn.features import subsample
from clearsight.learn.heads import Features, Labels
from clearsight.learn.heads._graph import HeadGraph
from clearsight.learn.heads._present import Present, accuracy
from clearsight.learn.heads._trees import NODE_BYTES, Tree, Trees

TIMED_ROWS = 1000
FEWEST_ROUNDS = 10
"""Rounds that must fit the time; rows are left out until they do."""
TIME_SHARE = 0.8


class GradientBoosting:
    """Scores are b_k + sum_m f_mk(x), f_mk a tree fitted to the gradient of the cross-entropy.

    A round adds one tree for each class (one in all for two classes). Rounds go on until the
    cross-entropy on validation has not fallen for `patience` of them; the best count is kept.
    Of very many columns the trees see a random part, chosen once.

    Source: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of
        Statistics 29, 2001; Ho, "The Random Subspace Method", IEEE PAMI 20, 1998 (the columns);
        the fit is scikit-learn's HistGradientBoostingClassifier.
    """

    class Config(BaseConfig):
        """Options of the head.

        Args:
            rounds: most rounds.
            patience: rounds without a better validation part after which to stop.
            learning_rate: part of a tree's step that is taken.
            leaves: most leaves of a tree.
            depth: most levels of a tree.
            smallest_leaf: fewest rows in a leaf.
            columns: most columns that trees may look at.
            bins: values that a column is rounded to while trees grow.
            model_bytes: most that the trees may take in the exported model; it bounds the rounds.
        """

        rounds: int = Field(default=200, ge=1, le=5000)
        patience: int = Field(default=5, ge=1)
        learning_rate: float = Field(default=0.1, gt=0, le=1)
        leaves: int = Field(default=15, ge=2, le=255)
        depth: int = Field(default=8, ge=1, le=32)
        smallest_leaf: int = Field(default=20, ge=1)
        columns: int = Field(default=512, ge=1)
        bins: int = Field(default=64, ge=2, le=255)
        model_bytes: int = Field(default=2**26, ge=2**16)

    def __init__(self, config: GradientBoosting.Config) -> None:
        self.config = config

    def fit(
        self,
        train: tuple[Features, Labels],
        val: tuple[Features, Labels],
        classes: int,
        seed: int,
        deadline: float | None,
        progress: Progress,
    ) -> FittedBoosting:
        """Boost until validation, the rounds or the time say stop; at least one round."""
        present = Present.of(train[1], classes)
        known, known_val = present.compact(train), present.compact(val)
        columns = varying_columns(known[0], self.config.columns, seed)
        features, labels = np.ascontiguousarray(known[0][:, columns]), known[1]
        progress.start("boosting", self._rounds(len(present)), "rounds")
        threads, pace = self._pace(features, labels, len(present))
        rows = self._affordable_rows(len(labels), pace, deadline)
        if rows < len(labels):
            progress.say(
                f"gradient-boosting learns from {rows} of {len(labels)} rows",
                reason="rounds on all of them would take longer than there is time",
            )
            part = subsample(labels, rows, seed)
            features, labels = features[part], labels[part]
        watch = _Watch(columns, known_val, self.config.patience, deadline, progress)
        if len(present) > 1:
            rounds = self._rounds(len(present))
            self._grow(features, labels, watch, rounds, seed, threads)
        progress.finish()
        trees, baseline = watch.best(len(present))
        story: dict[str, Any] = {
            "rounds": len(trees.roots) // len(baseline),
            "rows": rows,
            "columns": len(columns),
            "log_loss": watch.losses,
        }
        fitted = FittedBoosting(trees, baseline, present, story)
        story["val_accuracy"] = accuracy(fitted.scores(val[0]), val[1])
        return fitted

    def _rounds(self, classes: int) -> int:
        """Most rounds whose trees fit `model_bytes`."""
        tree_bytes = (2 * NODE_BYTES + 4) * self.config.leaves
        return max(1, min(self.config.rounds, self.config.model_bytes // tree_bytes // classes))

    def _grow(
        self,
        features: Features,
        labels: Labels,
        scoring: Any,
        rounds: int,
        seed: int,
        threads: int,
    ) -> None:
        """Let scikit-learn boost; `scoring` sees every round and ends it by a falling score."""
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits

        model = HistGradientBoostingClassifier(
            max_iter=rounds,
            learning_rate=self.config.learning_rate,
            max_leaf_nodes=self.config.leaves,
            max_depth=self.config.depth,
            min_samples_leaf=self.config.smallest_leaf,
            max_bins=self.config.bins,
            categorical_features=None,
            early_stopping=True,
            scoring=scoring,
            n_iter_no_change=1,
            tol=0,
            random_state=int(generator(seed, "gradient boosting").integers(2**31)),
        )
        with threadpool_limits(threads, "openmp"):
            model.fit(features, labels, X_val=features[:1], y_val=labels[:1])

    def _pace(self, features: Features, labels: Labels, classes: int) -> tuple[int, float]:
        """Return the faster of one thread and all, and its seconds a row and round.

        The threads wait for each other by spinning: on a busy machine many are slower than one
        by orders of magnitude. The trees are the same.
        """
        if classes < 2:
            return 1, 0.0
        few = subsample(labels, TIMED_ROWS, 0)
        if len(np.unique(labels[few])) < 2:
            return 1, 0.0
        found = []
        for threads in sorted({1, os.cpu_count() or 1}):
            began = time.monotonic()
            self._grow(features[few], labels[few], lambda *parts: 0.0, 1, 0, threads)
            found.append(((time.monotonic() - began) / len(few), threads))
        pace, threads = min(found)
        return threads, pace

    def _affordable_rows(self, n: int, pace: float, deadline: float | None) -> int:
        """Rows of which a few rounds fit the time."""
        if deadline is None or pace == 0:
            return n
        left = max(0.0, deadline - time.monotonic()) * TIME_SHARE
        return int(min(n, max(TIMED_ROWS, left / FEWEST_ROUNDS / pace)))


@dataclass(eq=False)
class _Watch:
    """Called by scikit-learn as a scorer: follows validation and says when to stop.

    Args:
        columns: of the features, in the order the trees know them.
        val: features and labels.
        patience: rounds without improvement to wait.
        deadline: when to stop.
        progress: where to report.
    """

    columns: NDArray[np.int64]
    val: tuple[Features, Labels]
    patience: int
    deadline: float | None
    progress: Progress
    losses: list[float] = field(default_factory=list)
    _rounds: list[list[Tree]] = field(default_factory=list)
    _baseline: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    _scores: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 1)))

    def __call__(self, model: Any, features: Any, labels: Any) -> float:
        """Return a larger number than before as long as rounds should go on."""
        if len(model._predictors) > len(self._rounds):
            self._follow(model)
        return -1.0 if self._over() else float(len(self._rounds))

    def best(self, classes: int) -> tuple[Trees, NDArray[np.float32]]:
        """Return the trees of the best rounds and the scores without any."""
        if not self._rounds:
            return Trees.join([constant_tree()]), np.zeros(classes, np.float32)
        count = int(np.argmin(self.losses)) + 1 if len(self.val[1]) else len(self._rounds)
        trees = Trees.join([tree for round_ in self._rounds[:count] for tree in round_])
        return trees, self._baseline.astype(np.float32)

    def _follow(self, model: Any) -> None:
        if not self._rounds:
            self._baseline = np.asarray(model._baseline_prediction, np.float64).ravel()
            self._scores = np.tile(self._baseline, (len(self.val[1]), 1))
        trees = [_tree(one.nodes, self.columns) for one in model._predictors[-1]]
        self._rounds.append(trees)
        joined = Trees.join(trees)
        step = 4096
        for begin in range(0, len(self._scores), step):
            rows = slice(begin, begin + step)
            leaves = joined.leaves(np.asarray(self.val[0][rows]))
            self._scores[rows] += joined.values[leaves, 0]
        if len(self._scores):
            scores = both_columns(self._scores)
            right = np.take_along_axis(scores, self.val[1][:, None], axis=1)[:, 0]
            total = np.logaddexp.reduce(scores, axis=1)
            self.losses.append(round(float(np.mean(total - right)), 6))
        self.progress.advance(1, f"val log-loss {self.losses[-1]:.4f}" if self.losses else "")

    def _over(self) -> bool:
        if not self._rounds:
            return False
        late = self.deadline is not None and time.monotonic() > self.deadline
        waited = len(self.losses) - 1 - int(np.argmin(self.losses)) if self.losses else 0
        return late or waited >= self.patience


@dataclass(frozen=True)
class FittedBoosting:
    """Trees whose leaves hold steps of one class's score.

    Args:
        trees: round by round, in a round one for each class that has pictures (one for two).
        baseline: scores without any tree.
        present: the classes that have pictures.
        story: how they grew.
    """

    steps: ClassVar[bool] = True

    trees: Trees
    baseline: NDArray[np.float32]
    present: Present
    story: dict[str, Any]

    def scores(self, features: Features) -> Scores:
        """Return (n, classes) float32 scores; their softmax are scikit-learn's probabilities."""
        outputs = len(self.baseline)
        raw = np.empty((len(features), outputs), np.float32)
        step = self.trees.chunk()
        for begin in range(0, len(features), step):
            leaves = self.trees.leaves(np.asarray(features[begin : begin + step]))
            steps = self.trees.values[leaves, 0].reshape(len(leaves), -1, outputs)
            raw[begin : begin + step] = steps.sum(axis=1) + self.baseline
        return self.present.widen(raw if len(self.present) == outputs else both_columns(raw))

    def append(self, features_model: bytes) -> bytes:
        """Return the model with the walk through the trees behind it."""
        graph, outputs = HeadGraph(features_model), len(self.baseline)
        leaves = self.trees.append(graph)
        steps = graph.add("Gather", graph.constant(self.trees.values[:, 0]), leaves)
        shape = graph.constant([-1, len(self.trees.roots) // outputs, outputs], np.int64)
        rounds = graph.add("Reshape", steps, shape)
        total = graph.add("ReduceSum", rounds, graph.constant([1], np.int64), keepdims=0)
        scores = graph.add("Add", total, graph.constant(self.baseline))
        if len(self.present) != outputs:
            scores = graph.add("MatMul", scores, graph.constant([[-0.5, 0.5]]))
        return self.present.append(graph, scores)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the trees, the baseline and the numbers of the present classes."""
        own: dict[str, NDArray[Any]] = {
            "head.baseline": self.baseline,
            "head.classes": self.present.labels,
        }
        return {**self.trees.arrays(), **own}


def both_columns(raw: NDArray[Any]) -> NDArray[Any]:
    """Return two columns for the one of two classes; the softmax gives its sigmoid."""
    return np.concatenate([-raw / 2, raw / 2], axis=1) if raw.shape[1] == 1 else raw


def varying_columns(features: Features, count: int, seed: int) -> NDArray[np.int64]:
    """Return at most `count` random columns, ascending; constant ones come last."""
    d = features.shape[1]
    if d <= count:
        return np.arange(d)
    varies = linear.Scaling.measure(features).factor > 0
    order = generator(seed, "columns").permutation(d)
    return np.sort(order[np.argsort(~varies[order], kind="stable")][:count])


def constant_tree() -> Tree:
    """Return a tree that says 0."""
    zero = np.zeros(1, np.int64)
    return Tree(zero, np.zeros(1), zero, zero, np.ones(1, bool), np.zeros((1, 1)))


def _tree(nodes: Any, columns: NDArray[np.int64]) -> Tree:
    """Read scikit-learn's node records; the learning rate is in the values already."""
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        feature=columns[np.where(leaf, 0, nodes["feature_idx"])],
        threshold=nodes["num_threshold"],
        left=nodes["left"],
        right=nodes["right"],
        leaf=leaf,
        value=nodes["value"][:, None],
    )
