"""Muon for convolution kernels, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.optimizers import Groups, Stepper
from clearsight.learn.optimizers._adaptive import AdaptiveStepper
from clearsight.learn.optimizers._stepper import PlainStepper, Tensors

REST_RATE = 1 / 3
REST_BETAS = (0.9, 0.99)


class Muon:
    """Kernels (four axes) move along orthogonalised momentum; other weights by AdamW.

    AdamW has a third of the learning rate, no weight decay, and betas 0.9 and 0.99.

    Args:
        config: its options.

    Source:
        Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024).
    """

    class Config(BaseConfig):
        """Options of the optimizer.

        Args:
            momentum: of the decaying sum of a kernel's gradients.
        """

        momentum: float = Field(default=0.9, ge=0, lt=1)

    lr: ClassVar[float] = 0.02

    def __init__(self, config: Muon.Config) -> None:
        self.config = config

    def steppers(self, groups: Groups) -> list[Stepper]:
        """Return a stepper for kernels and one for the rest, where there are such weights."""
        kernels, rest = _parted(groups, lambda weight: weight.ndim == 4)
        for group in rest:
            group["lr"], group["weight_decay"] = group["lr"] * REST_RATE, 0.0
        made: list[Stepper] = []
        if kernels:
            made.append(_MuonStepper(kernels, self.config.momentum))
        if rest:
            made.append(AdaptiveStepper(rest, REST_BETAS))
        return made


class _MuonStepper(PlainStepper):
    """Nesterov momentum whose step is brought near an orthogonal matrix.

    A kernel (out, in, h, w) counts as the matrix (out, in * h * w).
    """

    def __init__(self, groups: Groups, momentum: float) -> None:
        super().__init__(groups)
        self.momentum = momentum

    def move(self, weights: Tensors, gradients: Tensors, lr: float, decay: float) -> None:
        sums = self.held(weights, "momentum")
        for weight, gradient, momentum in zip(weights, gradients, sums, strict=True):
            momentum.mul_(self.momentum).add_(gradient)
            update = orthogonalised(gradient.add(momentum, alpha=self.momentum))
            rows, columns = weight.shape[0], weight[0].numel()
            weight.mul_(1 - lr * decay)
            weight.add_(update, alpha=-lr * max(1.0, rows / columns) ** 0.5)


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


def _parted(groups: Groups, belongs: Callable[[Tensor], bool]) -> tuple[Groups, Groups]:
    inside: Groups = []
    outside: Groups = []
    for group in groups:
        for keep, target in ((True, inside), (False, outside)):
            params = [p for p in group["params"] if belongs(p) is keep]
            if params:
                target.append({**group, "params": params})
    return inside, outside
