"""Random erasing: a rectangle of the picture is painted over."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.augment._draws import uniform

STRETCH = 1 / 0.3  # most by which a rectangle's sides differ, as in the paper


class RandomErasing:
    """Paints a random rectangle of a random part of the pictures over.

    Args:
        config: how often, how large, with what.

    Source:
        Zhong et al., Random Erasing Data Augmentation (2020), algorithm 1.
    """

    class Config(BaseConfig):
        """Options of the augmentation.

        Args:
            picture_share: of the pictures that lose a rectangle.
            largest_area_share: of the picture; rectangles are drawn from a fiftieth up to this.
            fill: "noise" (random values), or "mean" (the picture's own mean colour).
        """

        picture_share: float = Field(default=0.25, gt=0, le=1)
        largest_area_share: float = Field(default=1 / 3, ge=0.02, le=0.8)
        fill: Literal["noise", "mean"] = "noise"

    def __init__(self, config: RandomErasing.Config) -> None:
        self.config = config

    def __repr__(self) -> str:
        return f"RandomErasing({self.config!r})"

    def __call__(
        self, images_nhwc: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
    ) -> Tensor:
        """Return uint8 (n, h, w, c) pictures; see `Augment`."""
        n, height, width, _ = images_nhwc.shape
        chosen = torch.rand(n, generator=random) < self.config.picture_share
        area = uniform(n, 0.02, self.config.largest_area_share, random)
        stretch = uniform(n, -math.log(STRETCH), math.log(STRETCH), random).exp()
        rows = _stretch_of(height, (area * stretch).sqrt(), random)
        columns = _stretch_of(width, (area / stretch).sqrt(), random)
        inside = (rows[:, :, None] & columns[:, None, :])[..., None].to(images_nhwc.device)
        chosen = chosen.to(images_nhwc.device)
        erased = images_nhwc[chosen]
        if self.config.fill == "mean":
            paint = erased.float().mean((1, 2), keepdim=True).round_().to(torch.uint8)
        else:
            paint = torch.randint(0, 256, erased.shape, dtype=torch.uint8, generator=random)
        result = images_nhwc.clone()
        result[chosen] = torch.where(inside[chosen], paint.to(images_nhwc.device), erased)
        return result


def _stretch_of(size: int, share: Tensor, random: torch.Generator) -> Tensor:
    """Return (n, size) bool: a random stretch of about share * size, at least one pixel."""
    length = (share * size).round().clamp(1, size)[:, None]
    start = (torch.rand(len(share), 1, generator=random) * (size - length + 1)).floor()
    position = torch.arange(size)[None]
    return (position >= start) & (position < start + length)
