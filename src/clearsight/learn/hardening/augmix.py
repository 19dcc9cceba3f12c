"""AugMix: blended chains of operations; a loss that holds versions together, where asked for."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.augment.augmix import Augmix as Blend
from clearsight.learn.hardening._pictures import PictureHardening


class Augmix(PictureHardening):
    """Blends a picture with chains of operations; may hold its scores and theirs together.

    None of the operations is a corruption that `stress` measures with.

    Args:
        config: the pictures' options, and the weight of the second term.

    Source:
        Hendrycks et al., AugMix: A Simple Data Processing Method to Improve Robustness and
        Uncertainty (2020), algorithm 1 and equation 1.
    """

    class Config(BaseConfig):
        """Options of the hardening.

        Args:
            consistency: weight of the Jensen-Shannon divergence of the three versions (published:
                12), at three times the cost; 0 trains on one blended version alone.
            chains, longest_chain, strength, alpha, degrees: see `learn.augment.augmix`.
        """

        consistency: float = Field(default=0.0, ge=0, le=100)
        chains: int = Field(default=3, ge=1, le=8)
        longest_chain: int = Field(default=3, ge=1, le=8)
        strength: float = Field(default=0.3, gt=0, le=1)
        alpha: float = Field(default=1.0, gt=0, le=100)
        degrees: float = Field(default=30.0, ge=0, le=180)

    def __init__(self, config: Augmix.Config) -> None:
        super().__init__(config)
        self._blend = Blend(Blend.Config(**config.model_dump(exclude={"consistency"})))

    def pictures(self, images_nhwc: Tensor, random: torch.Generator) -> Tensor:
        """Return blended uint8 (n, h, w, c) pictures."""
        return self._blend(images_nhwc, torch.arange(len(images_nhwc)), 0, random)
