"""Optimizers by name, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from clearsight.learn.trainers._muon import Groups, Muon, PlainAdamW


class Stepper(Protocol):
    """What a torch optimizer and ours have in common."""

    param_groups: Groups
    state: Any

    def step(self) -> Any:
        """Take one step on the gradients that are there."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""


def _adam(groups: Groups, lr: float) -> list[Stepper]:
    return [torch.optim.Adam(groups, lr=lr)]


def _adamw(groups: Groups, lr: float) -> list[Stepper]:
    return [torch.optim.AdamW(groups, lr=lr)]


def _sgd(groups: Groups, lr: float) -> list[Stepper]:
    return [torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)]


def _muon(groups: Groups, lr: float) -> list[Stepper]:
    kernels, rest = _part(groups, lambda weight: weight.ndim == 4)
    for group in kernels:
        group.setdefault("lr", lr)
    for group in rest:
        group["lr"], group["weight_decay"] = group.get("lr", lr) / 3, 0.0
    made: list[Stepper] = [Muon(kernels)] if kernels else []
    return [*made, PlainAdamW(rest)] if rest else made


OPTIMIZERS: Mapping[str, Callable[[Groups, float], list[Stepper]]] = {
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

    def __init__(self, network: nn.Module, parts: Iterable[Stepper]) -> None:
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
