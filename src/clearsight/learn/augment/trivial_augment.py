"""TrivialAugment: one random operation a picture, at a random strength."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.augment._operations import ALL, Ranges, apply_drawn, drawn_strength
from clearsight.learn.label_preserving import TrainingPictures

WIDE = Ranges(degrees=135, shear=0.99, translate_share=0.45, factor_share=0.99, bits=2)


class TrivialAugment:
    """Draws one of fourteen operations for every picture, and how strong it is.

    The ranges are the paper's wide ones; a translation is a share of the side, so that small
    pictures are not emptied, and borders are filled by reflection.

    Args:
        config: bounds.

    Source:
        Mueller and Hutter, TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation
        (2021), algorithm 1.
    """

    class Config(BaseConfig):
        """Options of the augmentation.

        Args:
            strength: most of the full range that is drawn, in (0, 1].
            degrees: most degrees of rotation, at full strength.
        """

        strength: float = Field(default=1.0, gt=0, le=1)
        degrees: float = Field(default=WIDE.degrees, ge=0, le=180)

    def __init__(self, config: TrivialAugment.Config) -> None:
        self.config = config
        self._ranges = replace(WIDE, degrees=config.degrees)

    def __repr__(self) -> str:
        return f"TrivialAugment({self.config!r})"

    @classmethod
    def adapted(
        cls, config: TrivialAugment.Config, pictures: TrainingPictures
    ) -> TrivialAugment.Config:
        """Turn no further than keeps labels, unless degrees were asked for."""
        degrees = pictures.degrees_for(config, "trivial-augment")
        return cls.Config(strength=config.strength, degrees=degrees)

    def __call__(
        self, images_nhwc: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
    ) -> Tensor:
        """Return uint8 (n, h, w, c) pictures; see `Augment`."""
        strength = drawn_strength(len(images_nhwc), self.config.strength, random)
        return apply_drawn(images_nhwc, ALL, strength, self._ranges, random)
