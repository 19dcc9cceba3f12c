"""What a model family receives, returns and promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import WeightLicence
from clearsight.core.config import Config
from clearsight.core.nouns import ImagesNHWC, Preprocessing, Scores, Task
from clearsight.core.progress import Progress, Silent
from clearsight.core.registry import Registry
from clearsight.learn.training import Choice, Training

FAMILIES = Registry("clearsight.learn.families", "model family", extra="train")


class Capabilities(Config):
    """What a family declares; the contract kit checks every claim in both directions.

    Args:
        gradients: trained by gradient descent with torch (so `--epochs` counts and a killed
            training resumes from a checkpoint to the same weights).
        pretrained: starts from weights learnt elsewhere by default.
        features: the exported model has the output "embedding" beside "logits".
        tasks: the kinds of label it learns.
    """

    gradients: bool = False
    pretrained: bool = False
    features: bool = False
    tasks: tuple[Task, ...] = ("single-label", "ordinal")


@dataclass(frozen=True)
class Facts:
    """What is known before a family is chosen: the training part and the time; never the test part.

    Args:
        classes: class names.
        class_counts: training pictures per class, in the order of `classes`.
        height, width: median size in pixels.
        grey: every sampled picture is grey.
        from_files: pictures are encoded files (decoding costs time), not raw arrays.
        time_s: seconds that training may take, or None; lets a family pick an affordable input.
        task: what a label is; with "multi-label" `class_counts` sum to more than the pictures.
    """

    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    height: int
    width: int
    grey: bool
    from_files: bool = True
    time_s: float | None = None
    task: Task = "single-label"

    @property
    def n_train(self) -> int:
        """Number of training pictures."""
        return sum(self.class_counts)


@dataclass(frozen=True)
class Budget:
    """How long a family may train.

    Args:
        deadline: `time.monotonic()` value at which fit() must have returned, or None.
        epochs: number of passes over the training part, or None to let `deadline` decide.
            At least one of the two is given; with both, whichever ends first.
    """

    deadline: float | None = None
    epochs: float | None = None

    def remaining_s(self) -> float:
        """Seconds left; infinite without a deadline."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def earlier(self, seconds: float) -> Budget:
        """Return a budget that ends so many seconds before; without a deadline the same."""
        return self if self.deadline is None else replace(self, deadline=self.deadline - seconds)


class OnnxRunner(Protocol):
    """Runs one ONNX model; what `engines.open_session` returns."""

    def run(
        self, images_nhwc: ImagesNHWC, outputs: Sequence[str] = ("logits",)
    ) -> dict[str, NDArray[np.float32]]:
        """Return the named outputs for a batch of uint8 pictures (n, h, w, c)."""


OpenModel = Callable[[bytes], OnnxRunner]


@dataclass
class Job:
    """One training to do. Pixels are uint8 NHWC, already preprocessed, possibly memory-mapped.

    Args:
        train_images, train_labels: (n, h, w, c) uint8 and (n,) int64; with the task "multi-label"
            the labels are (n, classes) int64 of 0 and 1.
        val_images, val_labels: the validation part, for choices and early stopping.
        classes: class names in label order.
        preprocessing: what the pixels went through (the family's own choice).
        seed: same seed, same weights on CPU.
        budget: when to stop.
        work: a folder for checkpoints and caches; what is in it is resumed from.
        open_model: opens ONNX bytes for inference (an engine, given as an argument).
        progress: where to report.
        task: what a label is.
        training: what the user decided about gradient descent; families without it get none.
        harden: key of `learn/hardening` with options, or None; families without gradient descent
            get changed pictures instead, see `learn.hardened`.
        report: told (part of the run done in [0, 1], validation accuracy) whenever the family
            validates; whatever it raises ends the training (search prunes this way).
        track: told (step, figures by name) for curves: loss, learning_rate, val_accuracy.
    """

    train_images: ImagesNHWC
    train_labels: NDArray[np.int64]
    val_images: ImagesNHWC
    val_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    seed: int
    budget: Budget
    work: Path
    open_model: OpenModel
    progress: Progress = field(default_factory=Silent)
    task: Task = "single-label"
    training: Training = field(default_factory=Training)
    report: Callable[[float, float], None] = field(default=lambda done, accuracy: None)

    @property
    def strata(self) -> NDArray[np.int64]:
        """(n,) int64: the class each training picture stands for, see `strata`."""
        return strata(self.train_labels)

    track: Callable[[int, Mapping[str, float]], None] = field(default=lambda step, figures: None)
    harden: Choice | None = None


def strata(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n,) int64: what each picture stands for when one class must be named.

    Its class; with several classes the rarest of them, and -1 for none.

    Args:
        labels: (n,) class numbers, or (n, classes) of 0 and 1.

    Example:
        >>> strata(np.array([[1, 1], [1, 0], [0, 0]])).tolist()
        [1, 0, -1]
    """
    if labels.ndim == 1:
        return np.asarray(labels)
    rarity = np.where(labels > 0, labels.sum(axis=0), len(labels) + 1)
    return np.where(labels.any(axis=1), rarity.argmin(axis=1), -1).astype(np.int64)


@runtime_checkable
class Fitted(Protocol):
    """A trained recognizer, before it is a Bundle."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the ONNX outputs, "logits" first."""

    @property
    def licences(self) -> tuple[WeightLicence, ...]:
        """Where pre-trained weights came from; empty when trained from scratch."""

    @property
    def steps(self) -> bool:
        """Whether scores change in steps, as those of trees do; see `core.agreement`."""

    @property
    def story(self) -> dict[str, Any]:
        """JSON-ready facts for the Bundle and report: epochs, curves, choices and reasons."""

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return (n, classes) float32 scores of the model as trained, not as exported."""

    def onnx_model(self) -> bytes:
        """Return the ONNX file: uint8 NHWC "images" (batch axis free) -> `outputs`."""

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays for model.safetensors."""


class Family(Protocol):
    """A way to make a recognizer. Constructed with its configuration: `Compact(Compact.Config())`.

    Class attributes: `Config` (strict, with defaults) and `capabilities`; `config` is what it was
    constructed with.
    """

    Config: ClassVar[type[Config]]
    capabilities: ClassVar[Capabilities]
    config: Any

    def __init__(self, config: Any) -> None:
        """Take the family's own configuration."""

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return the model input this family wants for such data."""

    def fit(self, job: Job) -> Fitted:
        """Train within the budget, resuming from what `job.work` holds."""
