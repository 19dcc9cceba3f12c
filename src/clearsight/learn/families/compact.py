"""Our own small network for small pictures, made for speed on few CPU cores."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.files import read_json, write_json
from clearsight.core.nouns import TASKS, Preprocessing
from clearsight.core.seeds import derive_seed
from clearsight.learn.family import Capabilities, Facts, Job
from clearsight.learn.fitted_network import FittedNetwork
from clearsight.learn.hardening import build_hardening
from clearsight.learn.label_preserving import LabelPreserving, Verdict
from clearsight.learn.networks.compact_network import CompactNetwork
from clearsight.learn.networks.input_size import input_size
from clearsight.learn.trainers._timing import seconds_per_pass
from clearsight.learn.trainers.gradient import Recipe, train_network
from clearsight.learn.training import Choice

SMALLEST_SIDE = 8
STEM_STRIDE_FROM = 22  # pixels of the shorter side from which the stem halves the picture
LAST_MAP = 4  # stages halve the picture until its shorter side is no larger than this
CHANGED_FROM = 5  # passes; with fewer, pictures stay as they are: the plain ones are new enough
ERASED_FROM = 30  # passes; by then it knows most pictures by heart
SHIFT_PART = 24  # of the shorter side (one of 28 pixels, none of 8)
LARGEST_BATCH = 256
WIDTHS = (64, 96, 128)
ATTACKED_WIDTH = 32  # at whole resolution, which costs more a channel
WIDE_SHARE = 0.6  # of `max_epochs` that must fit into the time with a wider network
WIDE_PICTURES = 20_000  # fewer teach a wider network little more
LEAST_STEPS = 3000  # a small data set may be passed over more often than `max_epochs`


class CompactConfig(Config):
    """Options of the compact network; how it is trained is `settings.training`.

    Args:
        side: longest side of the model's input in pixels; larger pictures are shrunk.
        width: channels of the first stage; each later stage has twice as many. None takes 64 (32 at
            whole resolution where pictures are attacked in training), and more where there are
            many pictures and time for many passes of a wider network.
        residuals: residual convolutions in each stage.
        mirror: average mirrored views when scoring, and mirror training pictures unless
            `training.augment` is given; "auto" asks the training pictures whether that keeps their
            labels.
        max_epochs: most passes under a time budget.
    """

    side: int = Field(default=64, ge=SMALLEST_SIDE, le=128)
    width: int | None = Field(default=None, ge=8, le=512)
    residuals: int = Field(default=1, ge=0, le=4)
    mirror: Literal["auto", "yes", "no"] = "auto"
    max_epochs: int = Field(default=60, ge=1)


class Changes(Config):
    """How wide the network is, how training pictures are changed, and why.

    Args:
        width: channels of the first stage.
        shift: most pixels in each direction; 0 where `training.augment` decides.
        mirror: mirror in training and average mirrored views when scoring.
        erase: paint a part of every second picture over.
        reason: one sentence for the story, about mirroring.
    """

    width: int = Field(ge=1)
    shift: int = Field(ge=0)
    mirror: bool
    reason: str
    erase: bool = False


class Compact:
    """Whitening stem, residual stages, Muon, one cycle; see `CompactNetwork`.

    Args:
        config: its options.
    """

    Config: ClassVar[type[Config]] = CompactConfig
    capabilities: ClassVar[Capabilities] = Capabilities(gradients=True, features=True, tasks=TASKS)

    def __init__(self, config: CompactConfig) -> None:
        self.config = config

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return the pictures' own shape within bounds; grey if all are grey."""
        height, width = input_size(facts, SMALLEST_SIDE, self.config.side)
        return Preprocessing(height=height, width=width, channels=1 if facts.grey else 3)

    def fit(self, job: Job) -> FittedNetwork:
        """Train within the budget; see `train_network`."""
        changes = self._changes(job)
        network = self._network(job, changes.width)
        network.mirrored = changes.mirror
        told = changes.model_dump()
        job.progress.say("Width, and changes of training pictures", **told)
        story = train_network(network, job, self._recipe(job, changes))
        outputs = ("logits", "embedding", "features")
        return FittedNetwork(network, job.preprocessing, story | {"changes": told}, outputs)

    def _changes(self, job: Job) -> Changes:
        """Decide, once per work folder, how wide to be and how to change training pictures."""
        path = job.work / "changes.json"
        if path.exists():
            return Changes.parse(read_json(path))
        changes = self._decided(job)
        job.work.mkdir(parents=True, exist_ok=True)
        write_json(path, changes.model_dump())
        return changes

    def _decided(self, job: Job) -> Changes:
        width, passes = self._width(job)
        if job.training.augment is None and passes < CHANGED_FROM:
            reason = f"each picture is seen only about {passes:.1f} times"
            mirror = self.config.mirror == "yes"
            return Changes(width=width, shift=0, mirror=mirror, reason=reason)
        if self.config.mirror == "auto":
            pictures = (job.train_images, job.train_labels, job.classes, job.seed)
            verdict = LabelPreserving(*pictures).left_right
        else:
            verdict = Verdict(self.config.mirror == "yes", "asked for")
        shorter = min(job.preprocessing.height, job.preprocessing.width)
        ours = job.training.augment is None
        return Changes(
            width=width,
            shift=shorter // SHIFT_PART if ours else 0,
            mirror=verdict.allowed,
            reason=verdict.reason,
            erase=ours and passes >= ERASED_FROM,
        )

    def _width(self, job: Job) -> tuple[int, float]:
        """Return the width, and how often each picture will be seen with it, about."""
        width = self.config.width or (ATTACKED_WIDTH if _attacked(job) else WIDTHS[0])
        most = self._max_epochs(job)
        if job.budget.epochs is not None:
            return width, job.budget.epochs
        pass_s = seconds_per_pass(self._network(job, width), job, batch_size=self._batch(job))
        if job.harden is not None:
            pass_s *= build_hardening(job.harden, job.task).cost
        passes = job.budget.remaining_s() / pass_s
        if self.config.width is None and len(job.train_labels) >= WIDE_PICTURES:
            for wide in reversed(WIDTHS):
                fewer = passes * (width / wide) ** 2
                if fewer >= WIDE_SHARE * most:
                    return wide, min(most, fewer)
        return width, min(most, passes)

    def _network(self, job: Job, width: int) -> CompactNetwork:
        size = job.preprocessing
        shorter = min(size.height, size.width)
        stride = 2 if shorter >= STEM_STRIDE_FROM and not _attacked(job) else 1
        stages = max(1, math.ceil(math.log2(shorter / stride / LAST_MAP)))
        torch.manual_seed(derive_seed(job.seed, "weights"))
        network = CompactNetwork(
            channels=size.channels,
            classes=len(job.classes),
            stem_stride=stride,
            widths=[width * 2**stage for stage in range(stages)],
            residuals=self.config.residuals,
        )
        network.whiten(job.train_images)
        network.stem.requires_grad_(_attacked(job))
        return network

    def _recipe(self, job: Job, changes: Changes) -> Recipe:
        augment = []
        if changes.shift or changes.mirror:
            options = {"shift": changes.shift, "mirror": changes.mirror}
            augment = [Choice.of("shift-flip", **options)]
        if changes.erase:
            augment.append(Choice.of("random-erasing", picture_share=0.5))
        return Recipe(
            lr=0.03,
            optimizer="muon",
            weight_decay=0.01,
            loss=Choice.of("cross-entropy", smoothing=0.1),
            batch_size=self._batch(job),
            augment=augment,
            max_epochs=self._max_epochs(job),
        )

    def _batch(self, job: Job) -> int:
        """Return a fiftieth of the training part as a power of two, from 16 to 256."""
        fiftieth = 1 << round(math.log2(max(1, len(job.train_labels) / 50)))
        return job.training.batch_size or min(LARGEST_BATCH, max(16, fiftieth))

    def _max_epochs(self, job: Job) -> float:
        n = len(job.train_labels)
        return max(self.config.max_epochs, LEAST_STEPS * self._batch(job) / max(1, n))


def _attacked(job: Job) -> bool:
    """Whether pictures are attacked in training: then the stem learns, at whole resolution.

    Whitening makes what is rare in pictures as loud as what is frequent, and an attack needs no
    more than that; several narrow stages average it away. On validation pictures of Fashion-MNIST
    (1.5 passes of pgd, eps 0.1, one seed each) the stem that learns held 2 points more under
    attack, and whole resolution with 24 channels for 32 some 6 more, at thrice the cost a pass.
    """
    return job.harden is not None and not build_hardening(job.harden, job.task).by_pictures
