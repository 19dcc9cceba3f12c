"""Which pictures a step sees, changed, mixed and cut into parts; a pure function of the step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clearsight.core.seeds import derive_seed, generator
from clearsight.learn.family import Job
from clearsight.learn.losses import Loss
from clearsight.learn.trainers._plan import Plan
from clearsight.learn.trainers.recipe import Pipeline


@dataclass(frozen=True)
class Batch:
    """The pictures of one optimizer step.

    Args:
        images_nhwc: uint8 (n, h, w, c).
        labels: (n,) int64, or (n, classes) for "multi-label".
        others: labels of the pictures mixed in, or None.
        share: of each picture's own label.
    """

    images_nhwc: Tensor
    labels: Tensor
    others: Tensor | None = None
    share: float = 1.0

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, count: int) -> Iterator[Batch]:
        """Yield the batch in `count` parts of nearly one size (fewer when it is smaller)."""
        if count == 1:
            yield self
            return
        for rows in np.array_split(np.arange(len(self)), min(count, len(self))):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            others = None if self.others is None else self.others[part]
            yield Batch(self.images_nhwc[part], self.labels[part], others, self.share)

    def loss(self, loss: Loss, logits: Tensor, progress: float) -> Tensor:
        """Return the loss of logits (n, classes); mixed labels count by their share."""
        own = loss(logits, self.labels.to(logits.device), progress)
        if self.others is None:
            return own
        other = loss(logits, self.others.to(logits.device), progress)
        return self.share * own + (1 - self.share) * other


class Batches:
    """Batches by step.

    Args:
        job: gives pictures, labels and seed.
        pipeline: gives sampler, augmentation and mix.
        size: pictures an optimizer step sees.
    """

    def __init__(self, job: Job, pipeline: Pipeline, size: int) -> None:
        self._job, self._pipeline, self.size = job, pipeline, size
        self.steps_per_epoch = max(1, len(job.train_labels) // size)
        self._labels = torch.from_numpy(np.array(job.train_labels))
        self._order: tuple[tuple[int, float], Tensor] = ((-1, 0.0), torch.empty(0))

    def at(self, step: int, plan: Plan) -> Batch:
        """Return the batch of a step."""
        epoch, number = divmod(step, self.steps_per_epoch)
        passed = self._pass(epoch, plan.progress(epoch * self.steps_per_epoch))
        chosen = passed[number * self.size : (number + 1) * self.size]
        images = torch.from_numpy(self._job.train_images[chosen.numpy()])
        labels = self._labels[chosen]
        if self._pipeline.augment is not None:
            images = self._pipeline.augment(images, chosen, epoch, self._random("augment", step))
        if self._pipeline.mix is None:
            return Batch(images, labels)
        images, partners, share = self._pipeline.mix(images, self._random("mix", step))
        return Batch(images, labels, labels[partners], share)

    def _pass(self, epoch: int, progress: float) -> Tensor:
        if self._order[0] != (epoch, progress):
            order = self._pipeline.sampler.order(
                np.asarray(self._job.train_labels),
                len(self._job.classes),
                progress,
                generator(self._job.seed, "order", epoch),
            )
            self._order = ((epoch, progress), torch.from_numpy(order))
        return self._order[1]

    def _random(self, purpose: str, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self._job.seed, purpose, step))
