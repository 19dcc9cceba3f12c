"""Optimizers as the loop uses them: one schedule, named state, one gradient norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clearsight.learn.optimizers import Groups, Optimizer, Stepper
from clearsight.learn.optimizers._state import Scalars, restore, saved


def default_groups(network: nn.Module, weight_decay: float) -> Groups:
    """Return two groups: matrices and kernels with weight decay, vectors and biases without."""
    weights = [p for p in network.parameters() if p.requires_grad]
    groups: Groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Optimizers:
    """The steppers of one optimizer, under one schedule.

    Args:
        network: the network, for parameter names.
        optimizer: makes the steppers.
        groups: parameter groups; "lr" and "weight_decay" are filled in where they are missing.
        lr, weight_decay: for groups without their own.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        groups: Groups,
        lr: float,
        weight_decay: float = 0.0,
    ) -> None:
        filled = [{"lr": lr, "weight_decay": weight_decay, **group} for group in groups]
        self._named = dict(network.named_parameters())
        self._steppers: Sequence[Stepper] = optimizer.steppers(filled)
        self._groups = [group for stepper in self._steppers for group in stepper.param_groups]
        self._peaks = [float(group["lr"]) for group in self._groups]

    @torch.no_grad()
    def clip(self, longest: float) -> float:
        """Shorten the whole gradient to at most `longest`; return how long it was."""
        gradients = [p.grad for p in self._named.values() if p.grad is not None]
        if not gradients:
            return 0.0
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, (longest / (length + 1e-6)).clamp(max=1.0))
        return float(length)

    def step(self, factor: float) -> None:
        """Step with every learning rate at `factor` times its peak, and drop the gradients."""
        for group, peak in zip(self._groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        for stepper in self._steppers:
            stepper.step()
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Set every gradient to None."""
        for weight in self._named.values():
            weight.grad = None

    def state(self) -> tuple[dict[str, Tensor], Scalars]:
        """Return the state by name: tensors, and JSON-ready values."""
        return saved(self._steppers, self._named)

    def restore(self, tensors: Mapping[str, Tensor], scalars: dict[str, Any]) -> None:
        """Take over what `state()` gave."""
        restore(self._steppers, self._named, tensors, scalars)
