"""Gaussian noise: what a sensor adds in poor light."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

SIDE_32 = (0.04, 0.06, 0.08, 0.09, 0.10)
SIDE_64 = (0.04, 0.08, 0.12, 0.15, 0.18)
SIDE_224 = (0.08, 0.12, 0.18, 0.26, 0.38)


@distortion("Gaussian noise", group="published")
def gaussian_noise(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Add to every value a normal number of a standard deviation that grows with severity."""
    scale = np.float32(published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224))

    def change(picture: Floats, random: Random) -> Floats:
        noise = random.standard_normal(picture.shape, np.float32)
        noise *= scale
        picture += noise
        return picture

    return each(images_nhwc, seed, change)
