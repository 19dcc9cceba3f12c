"""Perspective: the camera does not face the thing."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random
from clearsight.robust.warp import Matrix, warped

TILTS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""How much larger the near side is seen than the middle, and the far side smaller."""


@distortion("Perspective")
def perspective(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Tilt a picture away from the camera, about a random line through its centre."""
    height, width = images_nhwc.shape[1:3]

    def matrix(random: Random) -> Matrix:
        angle = random.uniform(0, 2 * np.pi)
        across = TILTS[severity - 1] * np.cos(angle) / (width / 2)
        down = TILTS[severity - 1] * np.sin(angle) / (height / 2)
        return np.array([[1, 0, 0], [0, 1, 0], [across, down, 1]])

    return warped(images_nhwc, seed, matrix)
