"""The loss of a step, hardened or not, and how a network does on harder validation pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clearsight.core.seeds import derive_seed
from clearsight.learn.family import Job
from clearsight.learn.hardening import Hardening, Step
from clearsight.learn.trainers._batches import Batch
from clearsight.learn.trainers._device import Device
from clearsight.learn.trainers.recipe import Pipeline

ATTACK_FORWARDS, CHANGE_FORWARDS = 33, 1
"""What a picture costs in a trial, in forward passes: by an attack, and changed once."""
AT_ONCE, AT_ONCE_VALUES = 125, 2**21


def step_loss(
    network: nn.Module, device: Device, batch: Batch, pipeline: Pipeline, progress: float
) -> Tensor:
    """Return the loss of a batch, on its pictures or on what the hardening makes of them.

    Args:
        network: in training mode.
        device: where it stands.
        batch: pictures and labels.
        pipeline: gives the loss and the hardening.
        progress: part of the training that is done, in [0, 1].
    """

    def loss(logits: Tensor) -> Tensor:
        return batch.loss(pipeline.loss, logits, progress)

    if pipeline.hardening is None:
        return loss(_logits(network, device, device.pixels(batch.images_nhwc)))
    step = _step(network, device, batch.images_nhwc, loss, torch.default_generator)
    return pipeline.hardening.loss(step)


class Trial:
    """Scores a network on validation pictures that the hardening has made harder.

    Args:
        hardening: what changes or attacks them; the same way each time as far as it is drawn.
        job: gives the validation part and the seed.
        device: where the network stands.
    """

    def __init__(self, hardening: Hardening, job: Job, device: Device) -> None:
        self._hardening, self._job, self._device = hardening, job, device
        self.forwards = CHANGE_FORWARDS if hardening.by_pictures else ATTACK_FORWARDS

    def score(self, network: nn.Module, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) of these validation pictures, changed, and their labels.

        Args:
            network: left in evaluation mode.
            numbers: which pictures.
        """
        network.eval()
        images, labels = self._job.val_images, np.array(self._job.val_labels[numbers])
        random = torch.Generator().manual_seed(derive_seed(self._job.seed, "trial"))
        many = max(1, min(AT_ONCE, AT_ONCE_VALUES // max(1, images[0].size)))
        found = []
        for first in range(0, len(numbers), many):
            part = torch.from_numpy(np.array(images[numbers[first : first + many]]))
            wanted = torch.from_numpy(labels[first : first + many]).to(self._device.name)
            step = _step(network, self._device, part, partial(log_loss, labels=wanted), random)
            harder = self._hardening.trial(step)
            with torch.no_grad():
                found.append(step.logits(harder).cpu())
        return torch.cat(found), torch.from_numpy(labels)


def log_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean log-loss; several labels count one by one."""
    if labels.ndim == 2:
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    return nn.functional.cross_entropy(logits, labels)


def cost(hardening: Hardening | None) -> float:
    """Return the forward passes of a training step, in those of a plain one."""
    return 1.0 if hardening is None else hardening.cost


def _step(
    network: nn.Module,
    device: Device,
    images_nhwc: Tensor,
    loss: Callable[[Tensor], Tensor],
    random: Any,
) -> Step:
    logits = partial(_logits, network, device)
    return Step(images_nhwc, network, device.pixels, logits, loss, random)


def _logits(network: nn.Module, device: Device, pixels: Tensor) -> Tensor:
    with device.precision():
        scores: Tensor = network(pixels)
    return scores.float()
