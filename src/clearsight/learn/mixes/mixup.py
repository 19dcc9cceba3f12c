"""Mixup: pictures are blended as a whole."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.mixes import Mixed
from clearsight.learn.mixes._shares import drawn_partners, drawn_share


class Mixup:
    """Adds share times a picture and 1 - share times another; share ~ Beta(alpha, alpha).

    Args:
        config: how strongly pictures are blended.

    Source:
        Zhang et al., mixup: Beyond Empirical Risk Minimization (2018), equation 1.
    """

    class Config(BaseConfig):
        """Options of the mix.

        Args:
            alpha: of the Beta distribution: small values leave most batches nearly as they are,
                1 draws every share alike.
        """

        alpha: float = Field(default=0.2, gt=0, le=100)

    def __init__(self, config: Mixup.Config) -> None:
        self.config = config

    def __repr__(self) -> str:
        return f"Mixup({self.config})"

    def __call__(self, images_nhwc: Tensor, random: torch.Generator) -> Mixed:
        """Return blended uint8 (n, h, w, c) pictures; see `Mix`."""
        partners = drawn_partners(len(images_nhwc), random)
        share = drawn_share(self.config.alpha, random)
        own = images_nhwc.float()
        blended = own[partners].lerp_(own, share).round_()
        return Mixed(blended.to(torch.uint8), partners, share)
