"""Classifiers on fixed features; a file added here is a head added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.nouns import Scores
from clearsight.core.progress import Progress
from clearsight.core.registry import Registry

HEADS = Registry("clearsight.learn.heads", "head", extra="classical")

Features = NDArray[np.float32]
Labels = NDArray[np.int64]


class FittedHead(Protocol):
    """A head that has learnt.

    `steps` tells whether scores change in steps, as those of trees do.
    """

    steps: ClassVar[bool]

    @property
    def story(self) -> dict[str, Any]:
        """JSON-ready facts: what was tried on validation and chosen, and "val_accuracy"."""

    def scores(self, features: Features) -> Scores:
        """Return (n, classes) float32 scores of (n, d) features.

        A class without training pictures gets the row's lowest score.
        """

    def append(self, features_model: bytes) -> bytes:
        """Return the ONNX model with "logits", computed from "embedding", before its outputs."""

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return what was learnt, for model.safetensors; every name begins with "head."."""


class Head(Protocol):
    """What a file in this folder defines; constructed with its configuration."""

    Config: ClassVar[type[Config]]

    def __init__(self, config: Any) -> None:
        """Take the head's own options."""

    def fit(
        self,
        train: tuple[Features, Labels],
        val: tuple[Features, Labels],
        classes: int,
        seed: int,
        deadline: float | None,
        progress: Progress,
    ) -> FittedHead:
        """Learn from raw (unscaled) features; options are chosen on `val`.

        Args:
            train, val: (n, d) float32 features, possibly memory-mapped, and (n,) int64 labels.
            classes: number of classes; some may have no picture.
            seed: the only source of randomness.
            deadline: `time.monotonic()` value to return by, or None.
            progress: where to report; a head starts and finishes its own tasks.

        Raises:
            DataError: no training pictures, or a label outside [0, classes).
        """
