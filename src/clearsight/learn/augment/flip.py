"""Random mirroring, left with right and top with bottom."""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.affine import Affine, identities
from clearsight.learn.label_preserving import TrainingPictures


class Flip(Affine):
    """Mirrors a random part of the pictures.

    Args:
        config: which part.
    """

    class Config(BaseConfig):
        """Options of the augmentation.

        Args:
            left_right_share: of the pictures that are mirrored left to right.
            up_down_share: of the pictures that are turned upside down by mirroring.
        """

        left_right_share: float = Field(default=0.5, ge=0, le=1)
        up_down_share: float = Field(default=0.0, ge=0, le=1)

        @model_validator(mode="after")
        def _something(self) -> Self:
            if not self.left_right_share and not self.up_down_share:
                raise ValueError("flip with both shares 0 changes nothing; leave it out")
            return self

    @classmethod
    def adapted(cls, config: Flip.Config, pictures: TrainingPictures) -> Flip.Config:
        """Mirror in the ways that keep labels; what was asked for is done in any case."""
        given = config.model_fields_set
        keeps = pictures.keeps_labels
        if not given:
            up_down = keeps.up_down.allowed
            if keeps.left_right.allowed or not up_down:
                pictures.warn_unless(keeps.left_right, "flip")
                return cls.Config(left_right_share=0.5, up_down_share=0.5 if up_down else 0.0)
            return cls.Config(left_right_share=0.0, up_down_share=0.5)
        left_right = config.left_right_share
        if "left_right_share" not in given and not keeps.left_right.allowed:
            left_right = 0.0 if config.up_down_share else left_right
        if left_right:
            pictures.warn_unless(keeps.left_right, "flip (left-right)")
        if config.up_down_share:
            pictures.warn_unless(keeps.up_down, "flip (up-down)")
        return cls.Config(left_right_share=left_right, up_down_share=config.up_down_share)

    def matrices(self, n: int, height: int, width: int, random: torch.Generator) -> Tensor:
        """Return (n, 3, 3); see `Affine`."""
        matrices = identities(n)
        shares = (self.config.left_right_share, self.config.up_down_share)
        for axis, share in enumerate(shares):
            mirrored = torch.rand(n, generator=random) < share
            matrices[:, axis, axis] = torch.where(mirrored, -1.0, 1.0).double()
        return matrices
