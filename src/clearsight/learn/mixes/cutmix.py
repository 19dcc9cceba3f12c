"""CutMix: a rectangle of another picture is pasted in."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.mixes import Mixed
from clearsight.learn.mixes._shares import drawn_partners, drawn_share


class Cutmix:
    """Pastes the same rectangle of another picture; labels count by the area that is left.

    Args:
        config: how large rectangles are.

    Source:
        Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
        Features (2019), section 3.1.
    """

    class Config(BaseConfig):
        """Options of the mix.

        Args:
            alpha: of the Beta distribution that the rectangle's share is drawn from: 1 draws every
                share alike, small values paste nearly nothing or nearly all.
        """

        alpha: float = Field(default=1.0, gt=0, le=100)

    def __init__(self, config: Cutmix.Config) -> None:
        self.config = config

    def __repr__(self) -> str:
        return f"Cutmix({self.config})"

    def __call__(self, images_nhwc: Tensor, random: torch.Generator) -> Mixed:
        """Return uint8 (n, h, w, c) pictures with a rectangle of another; see `Mix`."""
        n, height, width, _ = images_nhwc.shape
        partners = drawn_partners(n, random)
        side = (1 - drawn_share(self.config.alpha, random)) ** 0.5
        top, bottom = _cut(height, side, random)
        left, right = _cut(width, side, random)
        mixed = images_nhwc.clone()
        mixed[:, top:bottom, left:right] = images_nhwc[partners, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return Mixed(mixed, partners, share)


def _cut(size: int, share: float, random: torch.Generator) -> tuple[int, int]:
    """Return the ends of a stretch of about share * size around a random centre, clipped."""
    centre = int(torch.randint(size, (), generator=random))
    half = share * size / 2
    return max(0, round(centre + 0.5 - half)), min(size, round(centre + 0.5 + half))
