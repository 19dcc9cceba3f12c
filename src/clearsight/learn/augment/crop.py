"""Random resized crop."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.affine import Affine, identities
from clearsight.learn.augment._draws import uniform


class Crop(Affine):
    """Cuts a random part out of every picture and stretches it to the picture's size.

    Args:
        config: how small and how far from the picture's own shape.

    Source:
        Szegedy et al., Going Deeper with Convolutions (2015), section 6.
    """

    class Config(BaseConfig):
        """Options of the augmentation.

        Args:
            smallest_area_share: of the picture's area; the share is drawn evenly from here to 1.
            largest_stretch: most by which one side is stretched more than the other.
        """

        smallest_area_share: float = Field(default=0.35, gt=0, lt=1)
        largest_stretch: float = Field(default=4 / 3, ge=1, le=4)

    def matrices(self, n: int, height: int, width: int, random: torch.Generator) -> Tensor:
        """Return (n, 3, 3); see `Affine`."""
        area = uniform(n, self.config.smallest_area_share, 1, random)
        limit = math.log(self.config.largest_stretch)
        stretch = uniform(n, -limit, limit, random).exp()
        matrices = identities(n)
        for axis, (size, side) in enumerate(
            ((width, (area * stretch).sqrt()), (height, (area / stretch).sqrt()))
        ):
            share = side.clamp(max=1)
            matrices[:, axis, axis] = share
            matrices[:, axis, 2] = (1 - share) * size / 2 * uniform(n, -1, 1, random)
        return matrices
