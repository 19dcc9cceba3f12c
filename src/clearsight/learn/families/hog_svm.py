"""Oriented gradients and a linear support vector machine: no network, no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.bundle import WeightLicence
from clearsight.core.config import Config
from clearsight.core.nouns import ImagesNHWC, Preprocessing, Scores
from clearsight.learn.family import Capabilities, Facts, Job, OnnxRunner
from clearsight.learn.features import extract, subsample
from clearsight.learn.hog import HogShape, hog_model
from clearsight.learn.linear import Head, choose
from clearsight.learn.onnx_graph import EMBEDDING, LOGITS, append_head

LARGEST_SIDE = 96
SMALLEST_SIDE = 24
SMALL_CELL, LARGE_CELL = 4, 8
SMALL_CELL_UP_TO = 48


class HogSvmConfig(Config):
    """How the descriptor is computed and the machine is fitted.

    Args:
        side: longer side of the input in pixels; None takes the pictures' own, from 24 to 96.
        cell: side of a cell in pixels; None takes 4 up to 48 pixels, else 8.
        orientations: bins of the gradient's direction.
        signed: tell dark-to-light from light-to-dark (360 degrees instead of 180).
        interpolate: share each gradient among neighbouring bins and cells.
        strengths: L2 penalties to choose from on validation; LinearSVC's C is 1 / (strength * n).
        memory_bytes: most that features of the training part may take; more pictures than fit are
            left out, class by class in turn, and that is said.
    """

    side: int | None = Field(default=None, ge=16, le=512)
    cell: int | None = Field(default=None, ge=2, le=64)
    orientations: int = Field(default=18, ge=2, le=72)
    signed: bool = True
    interpolate: bool = True
    strengths: tuple[float, ...] = Field(default=(0.3, 0.03, 3e-3), min_length=1)
    memory_bytes: int = Field(default=2**30, ge=2**20)


class HogSvm:
    """Trains a linear SVM (squared hinge, one against the rest) on HOG descriptors.

    Source: Dalal and Triggs 2005; Fan et al., "LIBLINEAR", JMLR 2008 (the objective).
    """

    Config: ClassVar[type[Config]] = HogSvmConfig
    capabilities: ClassVar[Capabilities] = Capabilities(features=True)

    def __init__(self, config: HogSvmConfig) -> None:
        self.config = config

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return the pictures' own shape within bounds, in whole cells; grey if all are grey."""
        longer = max(facts.height, facts.width)
        side = self.config.side or min(max(longer, SMALLEST_SIDE), LARGEST_SIDE)
        cell = self._cell(side)
        height, width = (
            max(2, round(size * side / longer / cell)) * cell
            for size in (facts.height, facts.width)
        )
        return Preprocessing(height=height, width=width, channels=1 if facts.grey else 3)

    def fit(self, job: Job) -> FittedHogSvm:
        """Extract descriptors once, then fit the machine until its deadline."""
        began = time.monotonic()
        size = job.preprocessing
        shape = HogShape(
            height=size.height,
            width=size.width,
            channels=size.channels,
            cell=self._cell(max(size.height, size.width)),
            orientations=self.config.orientations,
            signed=self.config.signed,
            interpolate=self.config.interpolate,
        )
        model = hog_model(shape)
        runner = job.open_model(model)
        rows = self._rows(job, shape)
        every = np.arange(len(job.val_labels))
        train = extract(runner, model, job.train_images, rows, job.work, "train", job.progress)
        val = extract(runner, model, job.val_images, every, job.work, "val", job.progress)
        job.progress.start("fitting the SVM", len(self.config.strengths), "fits")
        chosen = choose(
            "squared-hinge",
            (train.features, job.train_labels[rows]),
            (val.features, job.val_labels),
            len(job.classes),
            self.config.strengths,
            job.budget.deadline,
            job.progress,
        )
        job.progress.finish()
        story = {
            "descriptor": f"{shape.length} numbers, cells of {shape.cell} pixels",
            "pictures_used": len(rows),
            "pictures": len(job.train_labels),
            "features_s": round(train.seconds + val.seconds, 2),
            "fits": chosen.tried,
            "val_accuracy": chosen.accuracy,
            "seconds": round(time.monotonic() - began, 2),
        }
        return FittedHogSvm(model, runner, chosen.head, story)

    def _cell(self, side: int) -> int:
        return self.config.cell or (SMALL_CELL if side <= SMALL_CELL_UP_TO else LARGE_CELL)

    def _rows(self, job: Job, shape: HogShape) -> NDArray[np.int64]:
        fits = self.config.memory_bytes // (4 * shape.length)
        rows = subsample(job.train_labels, max(fits, len(job.classes)), job.seed)
        if len(rows) < len(job.train_labels):
            job.progress.say(
                f"hog-svm uses {len(rows)} of {len(job.train_labels)} training pictures",
                reason=f"their features would take more than {self.config.memory_bytes} bytes",
            )
        return rows


@dataclass(frozen=True)
class FittedHogSvm:
    """A descriptor and a fitted machine.

    Args:
        model: the descriptor as ONNX.
        runner: the same, opened.
        head: the machine.
        story: how it was fitted.
    """

    model: bytes
    runner: OnnxRunner
    head: Head
    story: dict[str, Any]
    outputs: tuple[str, ...] = (LOGITS, EMBEDDING)
    licences: tuple[WeightLicence, ...] = ()

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return (n, classes) float32 margins."""
        return self.head.scores(self.runner.run(images_nhwc, (EMBEDDING,))[EMBEDDING])

    def onnx_model(self) -> bytes:
        """Return the descriptor with the machine appended."""
        return append_head(self.model, self.head.weight, self.head.bias)

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the machine's arrays."""
        return {"head.weight": self.head.weight, "head.bias": self.head.bias}
