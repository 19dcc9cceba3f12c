"""Ways to train a recognizer that holds when pictures are changed or attacked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError
from clearsight.core.nouns import Task
from clearsight.core.registry import Registry
from clearsight.learn.training import Choice

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

HARDENINGS = Registry("clearsight.learn.hardening", "hardening", extra="train")


@dataclass(frozen=True)
class Step:
    """What a hardening may use of one step: the pictures, the network, and the loss of its scores.

    Args:
        images_nhwc: uint8 (n, h, w, c) on the CPU, after augmentation; not to be modified.
        network: in training mode in a step, in evaluation mode on validation pictures.
        pixels: from uint8 (n, h, w, c) to float32 (n, c, h, w) in [0, 255] where the network is.
        logits: from such pixels to float32 (n, classes).
        loss: from logits of these n pictures, in their order, to the mean loss.
        random: the only source of randomness to use, on the CPU.
    """

    images_nhwc: Tensor
    network: nn.Module
    pixels: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor], Tensor]
    random: torch.Generator


class Hardening(Protocol):
    """What a file in this folder defines.

    Class attributes: `Config`; `by_pictures`, whether it changes pictures without asking the
    network (then it defines `pictures(images_nhwc, random)`, uint8 in and out, and any family can
    learn from such pictures); `tasks`, the kinds of label it takes.
    """

    Config: ClassVar[type[Config]]
    by_pictures: ClassVar[bool]
    tasks: ClassVar[tuple[Task, ...]]
    config: Any

    def __init__(self, config: Any) -> None:
        """Take options."""

    @property
    def cost(self) -> float:
        """Forward passes that a step takes, in those of a plain step."""

    def loss(self, step: Step) -> Tensor:
        """Return the loss to descend, a scalar with gradients to the network's weights."""

    def trial(self, step: Step) -> Tensor:
        """Return harder versions of the pictures, float32 (n, c, h, w) in [0, 255].

        They are what the hardening is meant to hold against; which weights are kept is decided on
        validation pictures changed so. The network is left as it is.
        """


def build_hardening(choice: Choice, task: Task) -> Any:
    """Return a hardening by its key, with its options.

    Args:
        choice: key of `learn/hardening` and options.
        task: what a label is.

    Raises:
        UnknownKeyError: no such hardening.
        ConfigError: an option it lacks, a wrong value, or it does not take such labels.

    Example:
        >>> build_hardening(Choice.of("pgd", steps=3), "single-label").cost
        4.0
    """
    make = HARDENINGS.load(choice.name)
    try:
        config = make.Config.parse(choice.options)
    except ConfigError as error:
        raise ConfigError(f"harden {choice.name!r}: {error}") from error
    if task not in make.tasks:
        able = [key for key in HARDENINGS.keys() if task in HARDENINGS.load(key).tasks]  # noqa: SIM118
        raise ConfigError(
            f"harden={choice.name} does not take {task} labels. Allowed: {', '.join(able)}."
        )
    return make(config)
