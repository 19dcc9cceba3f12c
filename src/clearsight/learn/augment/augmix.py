"""AugMix: several chains of operations, blended with the picture itself."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.augment._draws import numpy_generator
from clearsight.learn.augment._operations import (
    FLATTENING,
    MOVING,
    Ranges,
    apply_drawn,
    drawn_strength,
)
from clearsight.learn.label_preserving import TrainingPictures

FULL = Ranges(degrees=30, shear=0.3, translate_share=1 / 3, factor_share=0, bits=4)
OPERATIONS = tuple(name for name in (*FLATTENING, *MOVING) if name != "identity")


class Augmix:
    """Blends chains of random operations; none of them is a corruption that `stress` tests with.

    The picture part of the method: the loss that holds three versions of a picture together is
    in `learn.hardening.augmix`.

    Args:
        config: how many chains, how long, how strong.

    Source:
        Hendrycks et al., AugMix: A Simple Data Processing Method to Improve Robustness and
        Uncertainty (2020), algorithm 1.
    """

    class Config(BaseConfig):
        """Options of the augmentation.

        Args:
            chains: blended with each other.
            longest_chain: operations; each chain's number is drawn from 1 to this.
            strength: most of the full range that is drawn, in (0, 1].
            alpha: of the Dirichlet and Beta distributions of the shares.
            degrees: of rotation at full strength.
        """

        chains: int = Field(default=3, ge=1, le=8)
        longest_chain: int = Field(default=3, ge=1, le=8)
        strength: float = Field(default=0.3, gt=0, le=1)
        alpha: float = Field(default=1.0, gt=0, le=100)
        degrees: float = Field(default=FULL.degrees, ge=0, le=180)

    def __init__(self, config: Augmix.Config) -> None:
        self.config = config
        self._ranges = replace(FULL, degrees=config.degrees)

    def __repr__(self) -> str:
        return f"Augmix({self.config!r})"

    @classmethod
    def adapted(cls, config: Augmix.Config, pictures: TrainingPictures) -> Augmix.Config:
        """Turn no further than keeps labels, unless degrees were asked for."""
        degrees = pictures.degrees_for(config, "augmix")
        return cls.Config(**dict(config) | {"degrees": degrees})

    def __call__(
        self, images_nhwc: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
    ) -> Tensor:
        """Return uint8 (n, h, w, c) pictures; see `Augment`."""
        n, options, draws = len(images_nhwc), self.config, numpy_generator(random)
        shares = torch.from_numpy(draws.dirichlet([options.alpha] * options.chains, n)).float()
        kept = torch.from_numpy(draws.beta(options.alpha, options.alpha, n)).float()
        weights = shares.to(images_nhwc.device) * (1 - kept.to(images_nhwc.device))[:, None]
        blended = images_nhwc * kept.to(images_nhwc.device)[:, None, None, None]
        ends = self._ends(images_nhwc.repeat(options.chains, 1, 1, 1), random)
        for chain, end in enumerate(ends.chunk(options.chains)):
            blended += end * weights[:, chain, None, None, None]
        return blended.round_().clamp_(0, 255).to(torch.uint8)

    def _ends(self, images_nhwc: Tensor, random: torch.Generator) -> Tensor:
        """Return every picture after one chain of its own length."""
        n, changed = len(images_nhwc), images_nhwc
        length = torch.randint(1, self.config.longest_chain + 1, (n,), generator=random)
        for position in range(int(length.max())):
            going = (length > position).nonzero()[:, 0]
            strength = drawn_strength(len(going), self.config.strength, random)
            there = going.to(images_nhwc.device)
            after = apply_drawn(changed[there], OPERATIONS, strength, self._ranges, random)
            changed[there] = after
        return changed
