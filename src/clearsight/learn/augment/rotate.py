"""Random rotation, by a few degrees and by quarter turns."""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.affine import Affine, rotations
from clearsight.learn.augment._draws import uniform
from clearsight.learn.label_preserving import TrainingPictures


class Rotate(Affine):
    """Turns every picture around its centre; corners are filled by reflection.

    Args:
        config: how far.
    """

    class Config(BaseConfig):
        """Options of the augmentation.

        Args:
            degrees: most degrees in both directions, drawn evenly.
            quarter_turns: turn by 0, 90, 180 or 270 degrees as well.
        """

        degrees: float = Field(default=15.0, ge=0, le=180)
        quarter_turns: bool = False

        @model_validator(mode="after")
        def _something(self) -> Self:
            if not self.degrees and not self.quarter_turns:
                raise ValueError("rotate by 0 degrees changes nothing; leave it out")
            return self

    @classmethod
    def adapted(cls, config: Rotate.Config, pictures: TrainingPictures) -> Rotate.Config:
        """Turn no further than keeps labels; what was asked for is done in any case."""
        given, keeps = config.model_fields_set, pictures.keeps_labels
        degrees = config.degrees
        if "degrees" not in given and (keeps.degrees > 0 or config.quarter_turns):
            degrees = min(degrees, keeps.degrees)
        turns = config.quarter_turns
        if "quarter_turns" not in given:
            turns = keeps.quarter_turns.allowed
        elif turns:
            pictures.warn_unless(keeps.quarter_turns, "rotate (quarter turns)")
        if degrees:
            pictures.warn_unless(keeps.rotation(degrees), f"rotate by {degrees:g} degrees")
        return cls.Config(degrees=degrees, quarter_turns=turns)

    def matrices(self, n: int, height: int, width: int, random: torch.Generator) -> Tensor:
        """Return (n, 3, 3); see `Affine`."""
        degrees = uniform(n, -self.config.degrees, self.config.degrees, random)
        if self.config.quarter_turns:
            degrees = degrees + 90 * torch.randint(4, (n,), generator=random)
        return rotations(degrees)
