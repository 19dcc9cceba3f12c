"""Muon for convolution kernels and AdamW for the rest, without torch.optim.

The first torch.optim.Optimizer of a process imports torch's compiler, which takes seconds: much
of a training that lasts half a minute. These two take none.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

Groups = list[dict[str, Any]]


class _Optimizer:
    """What both share: groups, state by weight, and a step that moves each weight."""

    def __init__(self, groups: Groups) -> None:
        self.param_groups = groups
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        """Take one step on the gradients that are there."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group["lr"], group["weight_decay"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        drop_gradients(self.param_groups)

    def _move(self, weight: Tensor, gradient: Tensor, lr: float, decay: float) -> None:
        raise NotImplementedError


class Muon(_Optimizer):
    """Nesterov momentum whose update is brought near an orthogonal matrix.

    A kernel (out, in, h, w) counts as the matrix (out, in * h * w).

    Args:
        groups: parameter groups with "params", "lr" and "weight_decay" (decoupled).
        momentum: of the running mean of gradients.

    Source:
        Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024).
    """

    def __init__(self, groups: Groups, momentum: float = 0.9) -> None:
        super().__init__(groups)
        self.momentum = momentum

    def _move(self, weight: Tensor, gradient: Tensor, lr: float, decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(self.momentum).add_(gradient)
        update = orthogonalised(gradient.add(momentum, alpha=self.momentum))
        rows, columns = weight.shape[0], weight[0].numel()
        weight.mul_(1 - lr * decay)
        weight.add_(update, alpha=-lr * max(1.0, rows / columns) ** 0.5)


class PlainAdamW(_Optimizer):
    """Adam with decoupled weight decay.

    Args:
        groups: parameter groups with "params", "lr" and "weight_decay".
        betas: of the running means of gradients and squared gradients.
        floor: added to the root of the mean square.

    Source:
        Kingma and Ba, Adam (2015), algorithm 1; Loshchilov and Hutter, Decoupled Weight Decay
        Regularization (2019), algorithm 2.
    """

    def __init__(
        self, groups: Groups, betas: tuple[float, float] = (0.9, 0.99), floor: float = 1e-8
    ) -> None:
        super().__init__(groups)
        self.betas, self.floor = betas, floor

    def _move(self, weight: Tensor, gradient: Tensor, lr: float, decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
            state["step"] = torch.zeros((), dtype=torch.float64)
        state["step"] += 1
        count, (fast, slow) = float(state["step"]), self.betas
        state["mean"].lerp_(gradient, 1 - fast)
        state["square"].mul_(slow).addcmul_(gradient, gradient, value=1 - slow)
        root = (state["square"] / (1 - slow**count)).sqrt_().add_(self.floor)
        weight.mul_(1 - lr * decay)
        weight.addcdiv_(state["mean"], root, value=-lr / (1 - fast**count))


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return U V^T of a tensor's singular value decomposition, roughly, by Newton-Schulz.

    Each iteration is X <- p(X X^T) X with one polynomial p. All factors are polynomials of the
    first X X^T, so they are multiplied among themselves (they are small and square) and meet the
    long matrix once; measured: half the time.

    Args:
        matrix: (rows, ...) floating point; trailing axes are flattened.
        steps: iterations of the quintic polynomial.
    """
    x = matrix.reshape(len(matrix), -1)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    gram, product = x @ x.T, torch.eye(len(x), dtype=x.dtype, device=x.device)
    for step in range(steps):
        factor = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        factor.diagonal().add_(3.4445)
        product = factor if step == 0 else factor @ product
        gram = factor @ gram @ factor
    result: Tensor = product @ x
    return (result.T if tall else result).reshape(matrix.shape)


def drop_gradients(groups: Groups) -> None:
    """Set every gradient to None."""
    for group in groups:
        for weight in group["params"]:
            weight.grad = None
