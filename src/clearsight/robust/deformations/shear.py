"""Shear: seen aslant, so that upright lines lean."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random
from clearsight.robust.warp import Matrix, sign, warped

DEGREES = (5, 10, 15, 22, 30)


@distortion("Shear")
def shear(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Lean a picture along one of its axes."""

    def matrix(random: Random) -> Matrix:
        slope = np.tan(np.deg2rad(DEGREES[severity - 1])) * sign(random)
        if random.random() < 0.5:
            return np.array([[1, slope, 0], [0, 1, 0], [0, 0, 1]])
        return np.array([[1, 0, 0], [slope, 1, 0], [0, 0, 1]])

    return warped(images_nhwc, seed, matrix)
