"""Rotation: the camera or the thing is turned."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random
from clearsight.robust.warp import Matrix, sign, warped

DEGREES = (5, 10, 20, 30, 45)


@distortion("Rotation")
def rotation(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Turn a picture to the left or the right about its centre."""

    def matrix(random: Random) -> Matrix:
        angle = np.deg2rad(DEGREES[severity - 1]) * sign(random)
        cosine, sine = np.cos(angle), np.sin(angle)
        return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])

    return warped(images_nhwc, seed, matrix)
