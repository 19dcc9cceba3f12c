"""Random enlarging and shrinking."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.affine import Affine, identities
from clearsight.learn.augment._draws import uniform


class Scale(Affine):
    """Enlarges or shrinks what every picture shows; a shrunk one is framed by its reflection.

    Args:
        config: how far.
    """

    class Config(BaseConfig):
        """Options of the augmentation.

        Args:
            largest_factor: pictures are drawn between this much smaller and this much larger.
        """

        largest_factor: float = Field(default=1.2, gt=1, le=4)

    def matrices(self, n: int, height: int, width: int, random: torch.Generator) -> Tensor:
        """Return (n, 3, 3); see `Affine`."""
        limit = math.log(self.config.largest_factor)
        factor = uniform(n, -limit, limit, random).exp()
        matrices = identities(n)
        matrices[:, 0, 0] = matrices[:, 1, 1] = factor
        return matrices
