"""Translation: the thing is not in the middle."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random
from clearsight.robust.warp import Matrix, warped

SHARES = (0.04, 0.08, 0.12, 0.18, 0.25)
"""Of the picture's height and width."""


@distortion("Translation")
def translation(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Move a picture by a share of its size in a random direction."""
    height, width = images_nhwc.shape[1:3]

    def matrix(random: Random) -> Matrix:
        angle = random.uniform(0, 2 * np.pi)
        across = SHARES[severity - 1] * width * np.cos(angle)
        down = SHARES[severity - 1] * height * np.sin(angle)
        return np.array([[1, 0, across], [0, 1, down], [0, 0, 1]])

    return warped(images_nhwc, seed, matrix)
