"""Impulse noise: single values that are stuck at black or white, as of dead pixels."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random, each_byte
from clearsight.robust.published import published

SIDE_32 = (0.01, 0.02, 0.03, 0.05, 0.07)
SIDE_64 = (0.01, 0.02, 0.05, 0.08, 0.14)
SIDE_224 = (0.03, 0.06, 0.09, 0.17, 0.27)
DRAWS = 1 << 16


@distortion("Impulse noise", group="published")
def impulse_noise(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Set a share of the values to black or white, each half the time."""
    stuck = round(DRAWS * published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224))
    black, white = np.uint8(0), np.uint8(255)

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        drawn = random.integers(0, DRAWS, picture.shape, np.uint16)
        lit = np.where(drawn < stuck, white, picture)
        return np.where(drawn < stuck // 2, black, lit)

    return each_byte(images_nhwc, seed, change)
