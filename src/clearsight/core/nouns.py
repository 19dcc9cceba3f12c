"""The words every room uses: Preprocessing, Prediction, Predictor, ImageFilter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config

ImagesNHWC = NDArray[np.uint8]
ImageHWC = NDArray[np.uint8]
Scores = NDArray[np.float32]
Task = Literal["single-label", "multi-label", "ordinal"]
"""What a label is: one class of several, any number of classes, or one step of an ordered scale."""
TASKS: tuple[Task, ...] = ("single-label", "multi-label", "ordinal")

PRESENT = 0.5
"""A class of a multi-label recognizer is taken for present from this probability on."""


class Preprocessing(Config):
    """How a decoded picture becomes the model's input; stored in the Bundle, run by `data`.

    Args:
        height, width: size of the model's input in pixels.
        channels: 3 for RGB, 1 for grey (BT.601 luma).
        fit: `stretch` ignores the aspect ratio, `crop` fills and cuts the centre,
            `letterbox` keeps everything and pads with `pad_value`.
        pad_value: grey level of letterbox padding, 0-255.
    """

    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    channels: Literal[1, 3] = 3
    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    pad_value: int = Field(default=0, ge=0, le=255)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a recognizer says about one picture.

    Args:
        labels: class names, best first.
        scores: calibrated probabilities of `labels`, in [0, 1].
        accepted: False when the picture is less familiar than the Bundle's rejection threshold.
        present: classes that are in the picture, best first; None unless the task is multi-label.
        rank: mean position on the scale, 0 for the first class; None unless the task is ordinal.
        set: the conformal set, best first: classes of which the true one is among with the
            Bundle's level; may be empty; None where the Bundle holds no conformal quantiles.
    """

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    accepted: bool = True
    present: tuple[str, ...] | None = None
    rank: float | None = None
    set: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """The best class name."""
        return self.labels[0]

    @property
    def score(self) -> float:
        """The best class's calibrated probability."""
        return self.scores[0]


@runtime_checkable
class Predictor(Protocol):
    """An opened recognizer. Thread-safe; a batch of n gives what n batches of one give."""

    @property
    def task(self) -> Task:
        """What a label is."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names, in the order of the score columns."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures must be prepared for `logits`."""

    def prepare(self, encoded: bytes) -> ImageHWC:
        """Decode one encoded picture and bring it to the model's input size.

        Raises:
            ImageError: the bytes are no usable picture.
        """

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return raw scores (n, classes) float32 of prepared pictures (n, h, w, c) uint8."""

    def probabilities(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return calibrated probabilities (n, classes) float32 of prepared pictures."""

    def prediction(self, probabilities: Scores, top: int = 5) -> Prediction:
        """Return the best labels of one row of `probabilities` (classes,)."""

    def recognize(self, encoded: bytes, top: int = 5) -> Prediction:
        """Decode, prepare and recognize one encoded picture."""


PixelsNHWC = NDArray[np.float32]
"""Pictures (n, h, w, c) float32 in [0, 255], between the whole numbers too."""
MapsNCHW = NDArray[np.float32]
Cotangent = Callable[[Scores], Scores]
"""From logits (n, classes) to the gradient of a scalar a picture with respect to them."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """What flowed back through a recognizer.

    Args:
        logits: (n, classes) float32.
        values: what was asked about: pixels (n, h, w, c), or a layer's maps (n, c, h, w).
        gradients: of each picture's scalar with respect to `values`, same shape.
    """

    logits: Scores
    values: NDArray[np.float32]
    gradients: NDArray[np.float32]


@runtime_checkable
class Differentiable(Protocol):
    """A recognizer that gives gradients, over plain arrays: explainers and attacks need no torch.

    Thread-safe; a batch of n gives what n batches of one give.
    """

    @property
    def classes(self) -> Sequence[str]:
        """Class names, in the order of the score columns."""

    @property
    def preprocessing(self) -> Preprocessing:
        """Size and channels of the pictures."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of layers that keep a spatial map, deepest first; empty where there is none."""

    def logits(self, pixels_nhwc: PixelsNHWC) -> Scores:
        """Return raw scores (n, classes) of pictures with any float32 pixel values."""

    def gradient(
        self, pixels_nhwc: PixelsNHWC, of: Cotangent, layer: str | None = None
    ) -> Gradient:
        """Return the gradient with respect to the pixels, or to the maps of a layer.

        Raises:
            UsageError: wrong shape or dtype, or no such layer.
        """

    def attentions(self, pixels_nhwc: PixelsNHWC) -> tuple[NDArray[np.float32], ...]:
        """Return every block's attention (n, heads, tokens, tokens), first first; else empty."""

    def randomized(self, seed: int) -> Differentiable:
        """Return the same network with weights drawn anew; explanations of it must differ."""


class ImageFilter(Protocol):
    """Corruptions, redactions and deformations: pictures in, pictures out, seeded."""

    def __call__(self, images_nhwc: ImagesNHWC, seed: int) -> ImagesNHWC:
        """Return changed pictures of the same shape and dtype; the input is not modified."""
