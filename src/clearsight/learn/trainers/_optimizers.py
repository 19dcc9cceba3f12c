"""Optimizers by name, Muon for convolution kernels, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Groups = list[dict[str, Any]]


class Muon(Optimizer):
    """Nesterov momentum whose update is brought near an orthogonal matrix.

    A kernel (out, in, h, w) counts as the matrix (out, in * h * w).

    Args:
        groups: parameter groups with `lr`, `weight_decay` (decoupled), `momentum`.

    Source:
        Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024).
    """

    def __init__(self, groups: Groups, lr: float, momentum: float = 0.9) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step on the gradients that are there."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                update = orthogonalised(weight.grad.add(momentum, alpha=group["momentum"]))
                rows, columns = weight.shape[0], weight[0].numel()
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return U V^T of a tensor's singular value decomposition, roughly, by Newton-Schulz.

    Args:
        matrix: (rows, ...) floating point; trailing axes are flattened.
        steps: iterations of the quintic polynomial.
    """
    x = matrix.reshape(len(matrix), -1)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        slope = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.addmm(x, slope, x, beta=3.4445)
    return (x.T if tall else x).reshape(matrix.shape)


def _adam(groups: Groups, lr: float) -> list[Optimizer]:
    return [torch.optim.Adam(groups, lr=lr)]


def _adamw(groups: Groups, lr: float) -> list[Optimizer]:
    return [torch.optim.AdamW(groups, lr=lr)]


def _sgd(groups: Groups, lr: float) -> list[Optimizer]:
    return [torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)]


def _muon(groups: Groups, lr: float) -> list[Optimizer]:
    kernels, rest = _part(groups, lambda weight: weight.ndim == 4)
    optimizers: list[Optimizer] = [Muon(kernels, lr=lr)] if kernels else []
    if rest:
        adam = [{**group, "lr": group.get("lr", lr) / 3, "weight_decay": 0.0} for group in rest]
        optimizers.append(torch.optim.AdamW(adam, betas=(0.9, 0.99), fused=True))
    return optimizers


OPTIMIZERS: Mapping[str, Callable[[Groups, float], list[Optimizer]]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
    "muon": _muon,
}


def default_groups(network: nn.Module, weight_decay: float) -> Groups:
    """Return two groups: matrices and kernels with weight decay, vectors and biases without."""
    weights = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Optimizers:
    """One or more torch optimizers that step together under one schedule.

    Args:
        network: the network, for parameter names.
        parts: the optimizers; each group's `lr` is its peak.
    """

    def __init__(self, network: nn.Module, parts: Iterable[Optimizer]) -> None:
        self._names = {id(p): name for name, p in network.named_parameters()}
        self._parts = list(parts)
        self._groups = [group for part in self._parts for group in part.param_groups]
        self._peaks = [float(group["lr"]) for group in self._groups]

    def step(self, factor: float) -> None:
        """Step with every learning rate at `factor` times its peak, and drop the gradients."""
        for group, peak in zip(self._groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        for part in self._parts:
            part.step()
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Return the optimizer state by name."""
        return {
            f"{number}/{self._names[id(weight)]}/{key}": value
            for number, part in enumerate(self._parts)
            for weight, state in part.state.items()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the state that `tensors()` gave."""
        weights = {
            self._names[id(w)]: w for g in self._groups for w in cast("list[Tensor]", g["params"])
        }
        for name, value in tensors.items():
            number, weight_name, key = name.split("/")
            weight = weights[weight_name]
            held = value.clone() if key == "step" else _like(value, weight)
            self._parts[int(number)].state[weight][key] = held


def _like(value: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _part(groups: Groups, belongs: Callable[[Tensor], bool]) -> tuple[Groups, Groups]:
    inside: Groups = []
    outside: Groups = []
    for group in groups:
        for keep, target in ((True, inside), (False, outside)):
            params = [p for p in group["params"] if belongs(p) is keep]
            if params:
                target.append({**group, "params": params})
    return inside, outside
