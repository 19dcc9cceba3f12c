"""A recognizer as explainers see it: its scores, and gradients or features where it has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import ClearsightError, UsageError
from clearsight.core.nouns import (
    Differentiable,
    ImagesNHWC,
    Preprocessing,
    Scores,
    Task,
)
from clearsight.engines.predictor import BundlePredictor
from clearsight.explain.class_evidence import ClassEvidence, class_evidence
from clearsight.explain.question import Question

SCORED_AT_ONCE = 64


def _no_gradients() -> Differentiable:
    raise UsageError("This recognizer gives no gradients.")


@dataclass(frozen=True)
class Subject:
    """What is explained. Gradients and features are looked for when they are first asked for.

    Args:
        classes: class names, in the order of the score columns.
        preprocessing: size and channels of the pictures.
        logits: (n, h, w, c) uint8 pictures -> (n, classes) raw scores.
        task: what a label is.
        open_live: gives gradients, or raises a UsageError that says why there are none.
        find_evidence: gives class activation maps, or None where the network has none.
    """

    classes: Sequence[str]
    preprocessing: Preprocessing
    logits: Callable[[ImagesNHWC], Scores]
    task: Task = "single-label"
    open_live: Callable[[], Differentiable] = _no_gradients
    find_evidence: Callable[[], ClassEvidence | None] = lambda: None

    @cached_property
    def live(self) -> Differentiable:
        """What gives gradients.

        Raises:
            UsageError, MissingExtraError: nothing does; the message says why.
        """
        return self.open_live()

    @cached_property
    def why_not_live(self) -> str:
        """Why there are no gradients; empty where there are."""
        try:
            return "" if self.live is not None else "none"
        except ClearsightError as error:
            return str(error)

    @cached_property
    def evidence(self) -> ClassEvidence | None:
        """Class activation maps of the last feature map; None where there are none."""
        return self.find_evidence()

    def scores(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return raw scores (n, classes), a few pictures at a time."""
        starts = range(0, len(images_nhwc), SCORED_AT_ONCE)
        return np.concatenate([self.logits(images_nhwc[at : at + SCORED_AT_ONCE]) for at in starts])

    def margins(self, images_nhwc: ImagesNHWC, question: Question) -> NDArray[np.float64]:
        """Return (n,) log-odds of what is asked."""
        return question.margin(self.scores(images_nhwc), self.task)

    def randomized(self, seed: int) -> Subject:
        """Return the same network with weights drawn anew.

        Args:
            seed: decides the draw.

        Raises:
            UsageError, MissingExtraError: without gradients weights cannot be drawn anew.
        """
        other = self.live.randomized(seed)
        return Subject(
            self.classes,
            self.preprocessing,
            lambda images: other.logits(images.astype(np.float32)),
            self.task,
            lambda: other,
            lambda: evidence_from_gradients(other),
        )


def subject_of(predictor: BundlePredictor) -> Subject:
    """Return an opened Bundle as a Subject; torch is imported when gradients are asked for."""

    def open_live() -> Differentiable:
        from clearsight.engines.torch_live import open_live

        return open_live(predictor.bundle)

    return Subject(
        predictor.classes,
        predictor.preprocessing,
        predictor.logits,
        predictor.task,
        open_live,
        lambda: class_evidence(predictor),
    )


def evidence_from_gradients(live: Differentiable) -> ClassEvidence | None:
    """Return class activation maps whose weights are the gradients of a linear head.

    Args:
        live: a recognizer whose deepest layer is followed by a pooling and a linear head.
    """
    if not live.layers:
        return None

    def maps(images: ImagesNHWC, question: Question) -> NDArray[np.float32]:
        wanted = question.weights(len(live.classes))
        seen = live.gradient(images.astype(np.float32), lambda _: wanted, live.layers[0])
        weights = seen.gradients.sum(axis=(2, 3))
        found: NDArray[np.float32] = np.einsum("nchw,nc->nhw", seen.values, weights)
        return found

    return maps
