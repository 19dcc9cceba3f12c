"""Motion blur: the camera moved, along a line in a random direction."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.blur import motion
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random, each_byte
from clearsight.robust.published import published

SIDE_32 = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
SIDE_64 = ((10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0))
SIDE_224 = ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))


@distortion("Motion blur", group="published")
def motion_blur(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Smear a picture along a line that lies within 45 degrees of the horizontal."""
    radius, sigma = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        smeared = motion(picture.astype(np.float32), radius, sigma, random.uniform(-45, 45))
        rounded: ImageHWC = np.clip(smeared + np.float32(0.5), 0, 255).astype(np.uint8)
        return rounded

    return each_byte(images_nhwc, seed, change)
