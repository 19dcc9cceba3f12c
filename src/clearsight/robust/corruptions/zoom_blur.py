"""Zoom blur: the camera moved towards the scene."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import zoomed
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

SMALL = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))
SIDE_224 = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))


@distortion("Zoom blur", group="published")
def zoom_blur(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Average a picture with itself, enlarged by more and more."""
    end, step = published(images_nhwc, severity, SMALL, SMALL, SIDE_224)
    factors = np.arange(1, end, step)

    def change(picture: Floats, random: Random) -> Floats:
        total = picture.copy()
        for factor in factors:
            total += zoomed(picture, float(factor))
        total *= np.float32(1 / (len(factors) + 1))
        return total

    return each(images_nhwc, seed, change)
