"""Support vector machine with a Gaussian kernel on a bounded number of landmarks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Scores
from clearsight.core.progress import Progress
from clearsight.learn import linear
from clearsight.learn.features import subsample
from clearsight.learn.heads import Features, Labels
from clearsight.learn.heads._graph import HeadGraph
from clearsight.learn.heads._kernel import Gaussian, Pace, median_distance
from clearsight.learn.heads._present import Present, accuracy

Part = tuple[Features, Labels]
SEARCH_ROWS, SEARCH_LANDMARKS = 6000, 1500
SEARCH_SHARE = 0.3
"""Part of the time for choosing the width, at most."""
FIT_SHARE = 0.8
FEWEST_LANDMARKS = 64


class RbfSvm:
    """f_k(x) = b_k + sum_j a_jk exp(-g |x - l_j|^2), fitted with the squared hinge.

    Minimises mean_i sum_k max(0, 1 - y_ik f_k(x_i))^2 + s/2 sum_k a_k^T K(L, L) a_k. The landmarks
    L are training rows; when all of them fit it is the exact kernel machine, otherwise the same
    machine restricted to the span of the landmarks (Nystrom). Width and strength are chosen on
    validation: the width on a part of the rows, the strength again on all.

    Source: Boser, Guyon and Vapnik, COLT 1992 (kernel machines); Williams and Seeger, "Using the
        Nystrom Method to Speed Up Kernel Machines", NIPS 2000 (landmarks); Chapelle, "Training a
        Support Vector Machine in the Primal", Neural Computation 2007 (the objective).
    """

    class Config(BaseConfig):
        """Options of the head.

        Args:
            landmarks: most training rows that the machine keeps; they bound its size.
            widths: g to choose from, in units of 1 / (median squared distance of two rows).
            strengths: penalties s * n to choose from; SVC's C is about 2 / (s * n).
            scalings: what to choose from: "whole" keeps the columns' proportions, "columns" gives
                each deviation 1.
            memory_bytes: most that the kernel of the training rows may take; it bounds landmarks.
        """

        landmarks: int = Field(default=4000, ge=2, le=linear.WIDEST_GRAM)
        widths: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0, 4.0), min_length=1)
        strengths: tuple[float, ...] = Field(default=(1.0, 0.3, 0.1, 0.03), min_length=1)
        scalings: tuple[Literal["whole", "columns"], ...] = Field(
            default=("whole", "columns"), min_length=1
        )
        memory_bytes: int = Field(default=2**30, ge=2**20)

    def __init__(self, config: RbfSvm.Config) -> None:
        self.config = config

    def fit(
        self,
        train: Part,
        val: Part,
        classes: int,
        seed: int,
        deadline: float | None,
        progress: Progress,
    ) -> FittedRbf:
        """Choose the width on a part of the rows, then fit on all that memory and time allow."""
        present = Present.of(train[1], classes)
        known, known_val = present.compact(train), present.compact(val)
        progress.start("choosing the kernel's width", self._candidates(), "fits")
        pace = Pace.measure(known[0], deadline)
        kernel, tried = self._search(known, known_val, len(present), seed, pace, progress)
        progress.finish()
        rows, count = self._size(len(known[1]), len(known_val[1]), pace)
        if min(rows, count) < len(known[1]):
            progress.say(
                f"rbf-svm learns from {rows} of {len(known[1])} rows with {count} landmarks",
                reason="more would take more memory or time than there is",
            )
        known = _rows(known, rows, seed)
        kernel = kernel.placed(_rows(known, count, seed)[0])
        progress.start("fitting the machine", len(self.config.strengths), "fits")
        chosen = _fit(
            kernel, known, known_val, len(present), self._strengths(rows), deadline, progress
        )
        progress.finish()
        story = {
            "landmarks": len(kernel.landmarks),
            "rows": rows,
            "widths": tried,
            "fits": chosen.tried,
        }
        fitted = FittedRbf(kernel, chosen.head, present, story)
        story["val_accuracy"] = accuracy(fitted.scores(val[0]), val[1])
        return fitted

    def _candidates(self) -> int:
        return len(self.config.scalings) * len(self.config.widths)

    def _strengths(self, n: int) -> list[float]:
        return [strength / n for strength in self.config.strengths]

    def _search(
        self,
        train: Part,
        val: Part,
        classes: int,
        seed: int,
        pace: Pace,
        progress: Progress,
    ) -> tuple[Gaussian, list[dict[str, Any]]]:
        """Return the best kernel on a part of the rows, without landmarks, and what was tried."""
        until = pace.until(SEARCH_SHARE)
        rows = min(SEARCH_ROWS, pace.rows(SEARCH_SHARE / (self._candidates() + 1)))
        train, val = _rows(train, rows, seed), _rows(val, rows, seed)
        landmarks = _rows(train, min(SEARCH_LANDMARKS, rows), seed)[0]
        best: tuple[tuple[float, float], Gaussian] | None = None
        tried: list[dict[str, Any]] = []
        for scaling in self.config.scalings:
            scaled = Gaussian.scaled(train[0], scaling)
            distance = median_distance(scaled, train[0], seed)
            for width in self.config.widths:
                if best is not None and until is not None and time.monotonic() > until:
                    return best[1], tried
                kernel = scaled.narrowed(width / distance).placed(landmarks)
                chosen = _fit(
                    kernel, train, val, classes, self._strengths(len(train[1])), until, None
                )
                record = max(chosen.tried, key=lambda one: (one["accuracy"], -one["log_loss"]))
                tried.append({"scaling": scaling, "width": width, **record})
                progress.advance(1, f"val {chosen.accuracy:.4f}")
                rank = (record["accuracy"], -record["log_loss"])
                if best is None or rank > best[0]:
                    best = rank, kernel
        assert best is not None
        return best[1], tried

    def _size(self, n: int, n_val: int, pace: Pace) -> tuple[int, int]:
        """Return how many rows and landmarks memory and the time that is left allow."""
        products = min(self.config.memory_bytes // 4, pace.products(FIT_SHARE))
        count = min(self.config.landmarks, n, products // (n + n_val))
        if count >= min(n, FEWEST_LANDMARKS):
            return n, count
        count = min(n, FEWEST_LANDMARKS)
        return max(count, min(n, products // count - n_val)), count


def _fit(
    kernel: Gaussian,
    train: Part,
    val: Part,
    classes: int,
    strengths: Sequence[float],
    deadline: float | None,
    progress: Progress | None,
) -> linear.Chosen:
    """Fit on the kernel's columns, centred, with the kernel's own penalty."""
    with linear.workers():  # so that the number of BLAS threads changes no bit
        columns, columns_val = kernel.columns(train[0]), kernel.columns(val[0])
        mean = linear.Scaling.measure(columns).offset
        penalty = kernel.between(kernel.landmarks).astype(np.float64)
        return linear.choose(
            "squared-hinge",
            (columns, train[1]),
            (columns_val, val[1]),
            classes,
            strengths,
            deadline,
            progress,
            scaling=linear.Scaling(mean, np.ones_like(mean)),
            penalty=(penalty + penalty.T) / 2,
        )


def _rows(part: Part, size: int, seed: int) -> Part:
    rows = subsample(part[1], size, seed)
    if len(rows) == len(part[1]):
        return part
    return part[0][rows], part[1][rows]


@dataclass(frozen=True)
class FittedRbf:
    """A kernel with its landmarks and a linear head on the kernel's columns.

    Args:
        kernel: the landmarks and their width.
        head: weight (landmarks, present classes) and bias.
        present: the classes that have pictures.
        story: how it was fitted.
    """

    steps: ClassVar[bool] = False

    kernel: Gaussian
    head: linear.Head
    present: Present
    story: dict[str, Any]

    def scores(self, features: Features) -> Scores:
        """Return (n, classes) float32 margins."""
        step = max(1, linear.CHUNK_BYTES // (4 * len(self.kernel.landmarks)))
        parts = [np.zeros((0, len(self.present)), np.float32)]
        for begin in range(0, len(features), step):
            columns = self.kernel.columns(features[begin : begin + step])
            parts.append(self.head.scores(columns))
        return self.present.widen(np.concatenate(parts))

    def append(self, features_model: bytes) -> bytes:
        """Return the model with two matrix products and an exponential behind it."""
        graph = HeadGraph(features_model)
        columns = self.kernel.append(graph)
        weight, bias = graph.constant(self.head.weight), graph.constant(self.head.bias)
        return self.present.append(graph, graph.add("Gemm", columns, weight, bias))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return landmarks, their scaling, weight, bias and the numbers of the present classes."""
        return {
            "head.landmarks": self.kernel.landmarks,
            "head.offset": self.kernel.offset,
            "head.factor": self.kernel.factor,
            "head.weight": self.head.weight,
            "head.bias": self.head.bias,
            "head.classes": self.present.labels,
        }
