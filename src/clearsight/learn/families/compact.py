"""Our own small network for small pictures, made for speed on few CPU cores."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.nouns import Preprocessing
from clearsight.core.seeds import derive_seed
from clearsight.learn.augment.shift_flip import ShiftFlip
from clearsight.learn.family import Capabilities, Facts, Job
from clearsight.learn.fitted_network import FittedNetwork
from clearsight.learn.mirroring import Verdict, mirroring_keeps_labels
from clearsight.learn.networks.compact_network import CompactNetwork
from clearsight.learn.networks.input_size import input_size
from clearsight.learn.trainers.gradient import Recipe, train_network

SMALLEST_SIDE = 8
STEM_STRIDE_FROM = 22  # pixels of the shorter side from which the stem halves the picture
LAST_MAP = 4  # stages halve the picture until its shorter side is no larger than this
LEAST_STEPS = 3000  # a small data set may be passed over more often than `max_epochs`


class CompactConfig(Config):
    """Options of the compact network and its training.

    Args:
        side: longest side of the model's input in pixels; larger pictures are shrunk.
        width: channels of the first stage; each later stage has twice as many.
        residuals: residual convolutions in each stage.
        lr: peak learning rate of Muon for kernels; the rest takes a third.
        weight_decay: of kernels.
        smoothing: label smoothing.
        batch_size: pictures a step; small data sets take smaller batches.
        shift: most pixels by which training pictures are moved.
        mirror: mirror training pictures and average mirrored views when scoring; "auto" asks the
            training pictures whether that keeps their labels.
        max_epochs: most passes under a time budget.
    """

    side: int = Field(default=64, ge=SMALLEST_SIDE, le=128)
    width: int = Field(default=64, ge=8, le=512)
    residuals: int = Field(default=1, ge=0, le=4)
    lr: float = Field(default=0.03, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    smoothing: float = Field(default=0.1, ge=0, lt=1)
    batch_size: int = Field(default=256, ge=2)
    shift: int = Field(default=2, ge=0)
    mirror: Literal["auto", "yes", "no"] = "auto"
    max_epochs: int = Field(default=60, ge=1)


class Compact:
    """Whitening stem, residual stages, Muon, one cycle; see `CompactNetwork`.

    Args:
        config: its options.
    """

    Config: ClassVar[type[Config]] = CompactConfig
    capabilities: ClassVar[Capabilities] = Capabilities(gradients=True, features=True)

    def __init__(self, config: CompactConfig) -> None:
        self.config = config

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return the pictures' own shape within bounds; grey if all are grey."""
        height, width = input_size(facts, SMALLEST_SIDE, self.config.side)
        return Preprocessing(height=height, width=width, channels=1 if facts.grey else 3)

    def fit(self, job: Job) -> FittedNetwork:
        """Train within the budget; see `train_network`."""
        verdict = self._mirror(job)
        job.progress.say(f"Mirroring is {'on' if verdict.mirror else 'off'}", reason=verdict.reason)
        network = self._network(job, verdict.mirror)
        story = train_network(network, job, self._recipe(job, verdict.mirror))
        about: dict[str, Any] = {"mirror": {"on": verdict.mirror, "reason": verdict.reason}}
        outputs = ("logits", "embedding", "features")
        return FittedNetwork(network, job.preprocessing, story | about, outputs)

    def _mirror(self, job: Job) -> Verdict:
        if self.config.mirror != "auto":
            return Verdict(self.config.mirror == "yes", "asked for")
        return mirroring_keeps_labels(job.train_images, job.train_labels, job.classes, job.seed)

    def _network(self, job: Job, mirror: bool) -> CompactNetwork:
        size = job.preprocessing
        shorter = min(size.height, size.width)
        stride = 2 if shorter >= STEM_STRIDE_FROM else 1
        stages = max(1, math.ceil(math.log2(shorter / stride / LAST_MAP)))
        torch.manual_seed(derive_seed(job.seed, "weights"))
        network = CompactNetwork(
            channels=size.channels,
            classes=len(job.classes),
            stem_stride=stride,
            widths=[self.config.width * 2**stage for stage in range(stages)],
            residuals=self.config.residuals,
            mirrored=mirror,
        )
        network.whiten(job.train_images)
        return network

    def _recipe(self, job: Job, mirror: bool) -> Recipe:
        n = len(job.train_labels)
        batch = min(self.config.batch_size, max(16, 2 ** round(math.log2(max(1, n / 50)))))
        shift = ShiftFlip.Config(shift=self._shift(job), mirror=mirror, seed=job.seed)
        return Recipe(
            lr=self.config.lr,
            optimizer="muon",
            weight_decay=self.config.weight_decay,
            loss_options={"smoothing": self.config.smoothing},
            batch_size=batch,
            augment=ShiftFlip(shift),
            max_epochs=max(self.config.max_epochs, LEAST_STEPS * batch / n),
        )

    def _shift(self, job: Job) -> int:
        """Return the shift, at most a twelfth of the picture (two of 28 pixels, none of 8)."""
        return min(self.config.shift, min(job.preprocessing.height, job.preprocessing.width) // 12)
