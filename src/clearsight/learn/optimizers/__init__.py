"""Optimizers; a file added here is an optimizer added."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Protocol

from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.registry import Registry

OPTIMIZERS = Registry("clearsight.learn.optimizers", "optimizer", extra="train")

Groups = list[dict[str, Any]]
"""Parameter groups as torch has them: "params", "lr" and "weight_decay" each."""
Beta = Annotated[float, Field(ge=0, lt=1)]
"""How much of a running mean is kept in a step."""


class Stepper(Protocol):
    """What moves weights: a torch optimizer, or one of ours; its state is kept by weight."""

    param_groups: Groups
    state: Any

    def step(self) -> Any:
        """Take one step on the gradients that are there, at each group's "lr"."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""


class Optimizer(Protocol):
    """What a file in this folder defines; constructed with its configuration.

    Class attributes: `Config`; `lr`, a usual peak rate, taken where somebody chooses the optimizer
    and no rate.
    """

    Config: ClassVar[type[Config]]
    lr: ClassVar[float]

    def __init__(self, config: Any) -> None:
        """Take the optimizer's own options; rate and weight decay come with the groups."""

    def steppers(self, groups: Groups) -> list[Stepper]:
        """Return what moves the weights of these groups; more than one may share them.

        Args:
            groups: every weight once, each group with its "lr" and "weight_decay". A stepper's
                group holds its own peak rate under "lr"; the trainer scales it by the schedule.
        """
