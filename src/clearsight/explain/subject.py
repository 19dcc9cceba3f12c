"""A recognizer as explainers see it: its scores, and gradients or features where it has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

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
from clearsight.core.seeds import generator
from clearsight.engines.predictor import BundlePredictor
from clearsight.explain.class_evidence import ClassEvidence, LinearHead, linear_head
from clearsight.explain.question import Question

SCORED_AT_ONCE = 64
MID_GREY = 127
Redrawn = Literal["every layer", "the last layer", ""]


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
        redraw_head: gives, for a seed, the recognizer with its last layer drawn anew; None where
            it tells nothing of what stands before that layer.
    """

    classes: Sequence[str]
    preprocessing: Preprocessing
    logits: Callable[[ImagesNHWC], Scores]
    task: Task = "single-label"
    open_live: Callable[[], Differentiable] = _no_gradients
    find_evidence: Callable[[], ClassEvidence | None] = lambda: None
    redraw_head: Callable[[int], Subject] | None = None

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

    @property
    def redrawn(self) -> Redrawn:
        """Which weights `randomized` draws anew; empty where it cannot."""
        if not self.why_not_live:
            return "every layer"
        return "" if self.redraw_head is None else "the last layer"

    def randomized(self, seed: int) -> Subject:
        """Return the same recognizer with weights drawn anew, see `redrawn`.

        Args:
            seed: decides the draw.

        Raises:
            UsageError, MissingExtraError: no weights can be drawn anew; the message says why.
        """
        if self.why_not_live and self.redraw_head is not None:
            return self.redraw_head(seed)
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

    def find_evidence() -> ClassEvidence | None:
        head = linear_head(predictor)
        return None if head is None else head.evidence(predictor)

    def redraw_head(seed: int) -> Subject:
        return _with_random_head(predictor, seed)

    has_embedding = "embedding" in predictor.manifest.outputs
    return Subject(
        predictor.classes,
        predictor.preprocessing,
        predictor.logits,
        predictor.task,
        open_live,
        find_evidence,
        redraw_head if has_embedding else None,
    )


def _with_random_head(predictor: BundlePredictor, seed: int) -> Subject:
    """Return a Bundle whose last layer is drawn anew, upon the features that it has.

    Source:
        Adebayo et al., Sanity Checks for Saliency Maps (2018), section 3: the first step of the
        cascade. It is all there is where nothing flows back, as in SIFT and trees.
    """

    def embedding(images: ImagesNHWC) -> NDArray[np.float32]:
        return predictor.outputs(images, ("embedding",))["embedding"].reshape(len(images), -1)

    p = predictor.preprocessing
    width = embedding(np.full((1, p.height, p.width, p.channels), MID_GREY, np.uint8)).shape[1]
    drawn = generator(seed, "random-head").normal(size=(width, len(predictor.classes)))
    matrix = drawn.astype(np.float32)

    def find_evidence() -> ClassEvidence | None:
        head = linear_head(predictor)
        if head is None:
            return None
        return LinearHead(matrix[: len(head.matrix)], head.mirrored).evidence(predictor)

    return Subject(
        predictor.classes,
        p,
        lambda images: embedding(images) @ matrix,
        predictor.task,
        find_evidence=find_evidence,
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
