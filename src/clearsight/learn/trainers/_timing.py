"""Measures how long a pass over the training part takes, before anything is decided by it."""

from __future__ import annotations

import copy
import statistics
import time

import torch
from torch import Tensor, nn

from clearsight.learn.family import Job
from clearsight.learn.optimizers import OPTIMIZERS
from clearsight.learn.trainers._device import choose_device
from clearsight.learn.trainers._optimizers import Optimizers, default_groups

WARM_UP_STEPS, TIMED_STEPS = 2, 4


def seconds_per_pass(
    network: nn.Module, job: Job, optimizer: str = "muon", batch_size: int = 256
) -> float:
    """Return the seconds that one pass over the training part takes, from a few steps of a copy.

    Args:
        network: takes float32 (n, c, h, w) pixels in [0, 255]; it is left as it is.
        job: gives the training part.
        optimizer: key of the optimizers.
        batch_size: pictures a step.
    """
    device, trial = choose_device(), copy.deepcopy(network).train()
    device.place(trial)
    made = OPTIMIZERS.load(optimizer)
    optimizers = Optimizers(trial, made(made.Config()), default_groups(trial, 0.0), 1e-6)
    images = torch.from_numpy(job.train_images[:batch_size])
    labels = torch.from_numpy(job.train_labels[:batch_size]).to(device.name)
    durations_s = []
    for _ in range(WARM_UP_STEPS + TIMED_STEPS):
        began = time.monotonic()
        with device.precision():
            loss = _loss(trial(device.pixels(images)).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizers.step(1.0)
        float(loss.detach())
        durations_s.append(time.monotonic() - began)
    steps = max(1, len(job.train_labels) // len(images))
    return statistics.median(durations_s[WARM_UP_STEPS:]) * steps


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.ndim == 2:
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    return nn.functional.cross_entropy(logits, labels)
