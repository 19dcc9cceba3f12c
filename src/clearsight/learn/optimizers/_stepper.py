"""The base of our steppers: no torch.optim, whose first use imports torch's compiler.

That import takes seconds, much of a training that lasts half a minute; these take none. Weights
are moved group by group with torch's multi-tensor functions.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from clearsight.learn.optimizers import Groups

Tensors = list[Tensor]


class PlainStepper:
    """Groups, state by weight, and a step that moves each group.

    Args:
        groups: parameter groups with "params", "lr" and "weight_decay".
    """

    def __init__(self, groups: Groups) -> None:
        self.param_groups = groups
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        """Take one step on the gradients that are there."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                gradients = [weight.grad for weight in weights]
                self.move(weights, gradients, group["lr"], group["weight_decay"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad = None

    def move(self, weights: Tensors, gradients: Tensors, lr: float, decay: float) -> None:
        """Move the weights of one group."""
        raise NotImplementedError

    def held(self, weights: Tensors, name: str) -> Tensors:
        """Return one tensor a weight from the state, zeros at first."""
        for weight in weights:
            if name not in self.state[weight]:
                self.state[weight][name] = torch.zeros_like(weight)
        return [self.state[weight][name] for weight in weights]

    def counted(self, weights: Tensors) -> list[int]:
        """Return how many steps each weight has taken, this one included."""
        counts = []
        for weight in weights:
            state = self.state[weight]
            if "step" not in state:
                state["step"] = torch.zeros((), dtype=torch.float64)
            state["step"] += 1
            counts.append(int(state["step"]))
        return counts
