"""Gaussian noise of a random strength on a share of the pictures."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import TASKS, Task
from clearsight.learn.hardening._pictures import PictureHardening


class Noise(PictureHardening):
    """Adds Gaussian noise to a share of the pictures, each with its own strength.

    `stress` measures with Gaussian noise too: its figures on noise are then of a change that the
    recognizer was trained on.

    Args:
        config: how strong, how often.

    Source:
        Rusak et al., A Simple Way to Make Neural Networks Robust against Diverse Image Corruptions
        (2020), section 3.1.

    Example:
        >>> hardening = Noise(Noise.Config(largest_sigma=0.2))
        >>> grey = torch.full((1, 8, 8, 1), 128, dtype=torch.uint8)
        >>> hardening.pictures(grey, torch.Generator().manual_seed(0)).shape
        torch.Size([1, 8, 8, 1])
    """

    class Config(BaseConfig):
        """Options of the hardening.

        Args:
            largest_sigma: standard deviation of the strongest noise, as a share of the pixel
                range; each picture's is drawn from 0 to this.
            picture_share: of the pictures that get noise; the others stay as they are.
        """

        largest_sigma: float = Field(default=0.3, gt=0, le=1)
        picture_share: float = Field(default=0.5, gt=0, le=1)

    tasks: ClassVar[tuple[Task, ...]] = TASKS
    config: Noise.Config

    def pictures(self, images_nhwc: Tensor, random: torch.Generator) -> Tensor:
        """Return noisy uint8 (n, h, w, c) pictures."""
        n, options = len(images_nhwc), self.config
        sigma = 255 * options.largest_sigma * torch.rand(n, generator=random)
        sigma *= torch.rand(n, generator=random) < options.picture_share
        noise = torch.randn(images_nhwc.shape, generator=random) * sigma[:, None, None, None]
        return (images_nhwc + noise).round_().clamp_(0, 255).to(torch.uint8)
