"""Speckle noise: noise that grows with the light itself, as in radar and ultrasound."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

SIDE_32 = (0.06, 0.1, 0.12, 0.16, 0.2)
SIDE_64 = (0.15, 0.2, 0.25, 0.3, 0.35)
SIDE_224 = (0.15, 0.2, 0.35, 0.45, 0.6)


@distortion("Speckle noise", group="extra")
def speckle_noise(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Multiply every value by 1 plus a normal number."""
    scale = np.float32(published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224))

    def change(picture: Floats, random: Random) -> Floats:
        noise = random.standard_normal(picture.shape, np.float32)
        noise *= scale
        noise += np.float32(1)
        picture *= noise
        return picture

    return each(images_nhwc, seed, change)
