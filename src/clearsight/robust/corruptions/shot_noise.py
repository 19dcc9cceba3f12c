"""Shot noise: light comes in grains, and in the dark they can be counted."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

SIDE_32 = (500, 250, 100, 75, 50)
SIDE_64 = (250, 100, 50, 30, 15)
SIDE_224 = (60, 25, 12, 5, 3)


@distortion("Shot noise", group="published")
def shot_noise(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Replace every value by a Poisson count of as many grains, the fewer the stronger."""
    grains = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)

    def change(picture: Floats, random: Random) -> Floats:
        counted = random.poisson(picture * np.float32(grains)).astype(np.float32)
        counted *= np.float32(1 / grains)
        return counted

    return each(images_nhwc, seed, change)
