"""What the linear heads share: one fit, and how the result scores and is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import Scores
from clearsight.core.progress import Progress
from clearsight.learn import linear
from clearsight.learn.heads import Features, Labels
from clearsight.learn.heads._graph import HeadGraph
from clearsight.learn.heads._present import Present, accuracy


@dataclass(frozen=True)
class FittedLinear:
    """A linear head on raw features.

    Args:
        head: weight and bias of the classes that have pictures.
        present: which these are.
        story: how it was fitted.
    """

    steps: ClassVar[bool] = False

    head: linear.Head
    present: Present
    story: dict[str, Any]

    def scores(self, features: Features) -> Scores:
        """Return (n, classes) float32 scores."""
        return self.present.widen(self.head.scores(features))

    def append(self, features_model: bytes) -> bytes:
        """Return the model with one matrix product behind it."""
        graph = HeadGraph(features_model)
        weight, bias = graph.constant(self.head.weight), graph.constant(self.head.bias)
        return self.present.append(graph, graph.add("Gemm", graph.embedding, weight, bias))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return weight (d, present classes), bias and the numbers of the present classes."""
        return {
            "head.weight": self.head.weight,
            "head.bias": self.head.bias,
            "head.classes": self.present.labels,
        }


def fit_linear(
    loss: linear.Loss,
    train: tuple[Features, Labels],
    val: tuple[Features, Labels],
    classes: int,
    strengths: Sequence[float],
    deadline: float | None,
    progress: Progress,
) -> FittedLinear:
    """Fit with every strength from the strongest on; keep the best on validation."""
    present = Present.of(train[1], classes)
    progress.start("fitting the head", len(strengths), "fits")
    chosen = linear.choose(
        loss,
        present.compact(train),
        present.compact(val),
        len(present),
        strengths,
        deadline,
        progress,
    )
    progress.finish()
    fitted = FittedLinear(chosen.head, present, {})
    found = accuracy(fitted.scores(np.asarray(val[0])), val[1])
    return FittedLinear(chosen.head, present, {"fits": chosen.tried, "val_accuracy": found})
