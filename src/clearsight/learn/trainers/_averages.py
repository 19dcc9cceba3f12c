"""The running mean of the weights, with batch-norm statistics of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clearsight.core.seeds import generator
from clearsight.learn.averaging import Averaging
from clearsight.learn.family import Job
from clearsight.learn.trainers._device import Device

ESTIMATE_PICTURES = 2000


class Averages:
    """Keeps the mean that an averaging describes; without one it does nothing.

    Args:
        network: whose parameters are averaged.
        averaging: how far the mean moves after a step, or None.
    """

    def __init__(self, network: nn.Module, averaging: Averaging | None) -> None:
        self._averaging = averaging
        self._weights = dict(network.named_parameters()) if averaging else {}
        self._mean: dict[str, Tensor] = {}
        self.taken = 0

    @property
    def ready(self) -> bool:
        """Whether there is a mean yet."""
        return self.taken > 0

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """Take the weights as they stand after a step into the mean."""
        share = None if self._averaging is None else self._averaging.share(self.taken, progress)
        if share is None:
            return
        if not self._mean:
            self._mean = {name: w.detach().clone() for name, w in self._weights.items()}
        else:
            torch._foreach_lerp_(list(self._mean.values()), list(self._weights.values()), share)
        self.taken += 1

    @contextmanager
    def in_place(self, network: nn.Module, job: Job, device: Device, batch: int) -> Iterator[None]:
        """Put the mean into the network for the block, with statistics estimated for it."""
        if not self.ready:
            yield
            return
        kept = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.take_over(network, job, device, batch)
        try:
            yield
        finally:
            network.load_state_dict(kept)

    def take_over(self, network: nn.Module, job: Job, device: Device, batch: int) -> None:
        """Put the mean into the network for good."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(self._mean[name])
        estimate_batch_norm(network, job, device, batch)

    def tensors(self) -> dict[str, Tensor]:
        """Return the mean by name."""
        return self._mean

    def restore(self, tensors: Mapping[str, Tensor], taken: int) -> None:
        """Take over what `tensors()` and `taken` gave."""
        self._mean = {  # in the order of the weights, which is not the file's
            name: torch.empty_like(weight).copy_(tensors[name])
            for name, weight in self._weights.items()
            if name in tensors
        }
        self.taken = taken


def estimate_batch_norm(network: nn.Module, job: Job, device: Device, batch: int) -> None:
    """Set batch-norm statistics to the mean over a fixed sample of training pictures.

    The running statistics are those of weights that are not the network's any more.

    Source:
        Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization (2018),
        section 3.2.
    """
    network.train()
    norms = [
        part
        for part in network.modules()
        if isinstance(part, _BatchNorm) and part.training and part.running_mean is not None
    ]
    network.eval()
    if not norms:
        return
    rows = generator(job.seed, "batch-norm").permutation(len(job.train_labels))
    rows = rows[:ESTIMATE_PICTURES]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
        norm.train()
    with torch.no_grad(), device.precision():
        for first in range(0, max(1, len(rows) - batch + 1), batch):  # whole batches alone
            images = torch.from_numpy(job.train_images[rows[first : first + batch]])
            network(device.pixels(images))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
