"""Blends of two training pictures and their labels; a file added here is a mix added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError
from clearsight.core.registry import Registry

MIXES = Registry("clearsight.learn.mixes", "mix", extra="train")
NONE = "none"


class Mixed(NamedTuple):
    """A mixed batch; the loss is share * loss(z, y) + (1 - share) * loss(z, y[partners]).

    Args:
        images_nhwc: uint8 (n, h, w, c).
        partners: (n,) int64, which picture of the batch was mixed into each.
        share: of each picture's own label in [0, 1], one for the whole batch.
    """

    images_nhwc: Tensor
    partners: Tensor
    share: float


class Mix(Protocol):
    """What a file in this folder defines; called after the augmentation, on its batch.

    Its `repr` names the class and every option: a resumed run is told from another by it.
    """

    Config: ClassVar[type[Config]]

    def __init__(self, config: Any) -> None:
        """Take options."""

    def __call__(self, images_nhwc: Tensor, random: torch.Generator) -> Mixed:
        """Return the mixed batch; the input is not modified.

        Args:
            images_nhwc: uint8 (n, h, w, c), n >= 1.
            random: the only source of randomness to use.
        """


def build_mix(name: str, options: Mapping[str, Any]) -> Mix | None:
    """Return a mix by its key, or None for "none".

    Raises:
        UnknownKeyError: no such mix.
        ConfigError: an option it lacks, or a wrong value; any option of "none".

    Example:
        >>> build_mix("mixup", {"alpha": 0.2})
        Mixup(alpha=0.2)
    """
    if name == NONE:
        if options:
            raise ConfigError(f"The mix 'none' takes no options; got {sorted(options)}.")
        return None
    mix = MIXES.load(name)
    built: Mix = mix(mix.Config.parse(dict(options)))
    return built
