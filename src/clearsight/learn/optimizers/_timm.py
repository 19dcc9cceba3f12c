"""Any optimizer of timm as "timm:NAME", its options checked against its own signature."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_class, get_optimizer_info, list_optimizers
from torch import nn

from clearsight.core.errors import ConfigError, UnknownKeyError, nearest
from clearsight.learn.optimizers import Groups, Stepper
from clearsight.learn.optimizers._state import restore, saved

PREFIX = "timm:"
NOT_OPTIONS = {"self", "params", "lr", "weight_decay", "args", "kwargs"}
TRIAL_STEPS = 3


class TimmOptimizer:
    """An optimizer of timm.

    Args:
        name: timm's name for it.
        options: its own options, without rate and weight decay.

    Raises:
        UnknownKeyError: timm has none of this name; the message names those that are close.
        ConfigError: an option that it lacks or refuses, or an optimizer whose state cannot be
            written to a checkpoint and restored.

    Source:
        timm.optim, create_optimizer_v2.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        if name not in list_optimizers():
            close = difflib.get_close_matches(name, list_optimizers(), n=8, cutoff=0.3)
            raise UnknownKeyError("optimizer", PREFIX + name, [PREFIX + other for other in close])
        self.name, self.options = name, dict(options)
        try:
            signature = inspect.signature(get_optimizer_class(name, bind_defaults=False))
        except (ImportError, AssertionError) as error:
            raise ConfigError(f"The optimizer timm:{name} cannot be used here: {error}.") from error
        self._check_options(signature)
        given = signature.parameters["lr"].default
        self.lr: float | None = given if isinstance(given, float) else None
        self._try()

    def steppers(self, groups: Groups) -> list[Stepper]:
        """Return the one torch optimizer."""
        return [create_optimizer_v2(groups, self.name, **self.options)]

    def _check_options(self, signature: inspect.Signature) -> None:
        allowed = [name for name in signature.parameters if name not in NOT_OPTIONS]
        for option in self.options:
            if option in ("lr", "weight_decay"):
                raise ConfigError(f"{option!r} is given as training.{option}, not as an option.")
            if option not in allowed:
                raise ConfigError(
                    f"timm:{self.name} has no option {option!r}.{nearest(option, allowed)}"
                )

    def _try(self) -> None:
        """Take a few steps on small weights, with a checkpoint in between, and without."""
        told = f"The optimizer timm:{self.name} cannot be used"
        if get_optimizer_info(self.name).second_order:
            raise ConfigError(f"{told}: it needs second derivatives.")
        try:
            plain, stored = self._trial(stored=False), self._trial(stored=True)
        except (RuntimeError, TypeError, ValueError, AssertionError, KeyError) as error:
            raise ConfigError(f"{told} with options {self.options}: {error}") from error
        if not all(torch.equal(one, other) for one, other in zip(plain, stored, strict=True)):
            raise ConfigError(
                f"{told}: a checkpoint does not hold all of its state, so a killed training "
                "would not resume to the same weights."
            )

    def _trial(self, stored: bool) -> Iterable[torch.Tensor]:
        random, kept = torch.Generator().manual_seed(0), torch.get_rng_state()
        shapes = {"kernel": (4, 3, 3, 3), "matrix": (5, 4), "bias": (5,)}
        named = {
            name: nn.Parameter(torch.randn(shape, generator=random))
            for name, shape in shapes.items()
        }
        steppers = self._made(named)
        for step in range(2 * TRIAL_STEPS):
            if stored and step == TRIAL_STEPS:
                tensors, scalars = saved(steppers, named)
                steppers = self._made(named)
                restore(steppers, named, tensors, scalars)
            torch.manual_seed(step)
            for weight in named.values():
                weight.grad = torch.randn(weight.shape, generator=random)
            for stepper in steppers:
                for group in stepper.param_groups:
                    group["lr"] = 1e-2 / (step + 1)
                stepper.step()
        torch.set_rng_state(kept)
        return named.values()

    def _made(self, named: Mapping[str, nn.Parameter]) -> list[Stepper]:
        weights = list(named.values())
        return self.steppers(
            [
                {"params": weights[:2], "lr": 1e-2, "weight_decay": 1e-2},
                {"params": weights[2:], "lr": 1e-2, "weight_decay": 0.0},
            ]
        )
