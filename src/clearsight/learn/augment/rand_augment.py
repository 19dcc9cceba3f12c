"""RandAugment: a few random operations a picture, all of one strength."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.augment._operations import ALL, Ranges, apply_drawn
from clearsight.learn.label_preserving import TrainingPictures

FULL = Ranges(degrees=30, shear=0.3, translate_share=0.45, factor_share=0.9, bits=4)


class RandAugment:
    """Applies operations drawn from fourteen, one after the other.

    Args:
        config: how many, how strong.

    Source:
        Cubuk et al., RandAugment: Practical Automated Data Augmentation with a Reduced Search
        Space (2020), section 3.
    """

    class Config(BaseConfig):
        """Options of the augmentation.

        Args:
            operations: drawn for every picture.
            strength: of each, in (0, 1]; the paper's magnitude 9 of 30 is 0.3.
            degrees: of rotation at full strength.
        """

        operations: int = Field(default=2, ge=1, le=10)
        strength: float = Field(default=0.3, gt=0, le=1)
        degrees: float = Field(default=FULL.degrees, ge=0, le=180)

    def __init__(self, config: RandAugment.Config) -> None:
        self.config = config
        self._ranges = replace(FULL, degrees=config.degrees)

    def __repr__(self) -> str:
        return f"RandAugment({self.config!r})"

    @classmethod
    def adapted(cls, config: RandAugment.Config, pictures: TrainingPictures) -> RandAugment.Config:
        """Turn no further than keeps labels, unless degrees were asked for."""
        degrees = pictures.degrees_for(config, "rand-augment")
        return cls.Config(**dict(config) | {"degrees": degrees})

    def __call__(
        self, images_nhwc: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
    ) -> Tensor:
        """Return uint8 (n, h, w, c) pictures; see `Augment`."""
        strength = torch.full((len(images_nhwc),), self.config.strength, dtype=torch.float64)
        for _ in range(self.config.operations):
            images_nhwc = apply_drawn(images_nhwc, ALL, strength, self._ranges, random)
        return images_nhwc
