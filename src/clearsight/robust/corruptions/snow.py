"""Snow: flakes that fall, and a picture that is whiter for it."""

from __future__ import annotations

import cv2
import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import motion, zoomed
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

# mean and spread of the flakes, their size, the threshold, radius and sigma of the fall, whitening
SIDE_32 = (
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
SIDE_64 = (
    (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
)
SIDE_224 = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)


@distortion("Snow", group="published", uneven="published so: fewer, larger flakes at severity 4")
def snow(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Whiten a picture and add two layers of falling flakes."""
    mean, spread, size, threshold, radius, sigma, kept = published(
        images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224
    )

    def change(picture: Floats, random: Random) -> Floats:
        flakes = random.standard_normal(picture.shape[:2], np.float32)
        flakes *= np.float32(spread)
        flakes += np.float32(mean)
        flakes = zoomed(flakes, size)
        flakes[flakes < threshold] = 0
        flakes = np.floor(np.clip(flakes, 0, 1) * np.float32(255))
        flakes = np.round(motion(flakes, int(radius), sigma, random.uniform(-135, -45)))
        flakes *= np.float32(1 / 255)
        white = np.maximum(picture, _grey(picture) * np.float32(1.5) + np.float32(0.5))
        picture *= np.float32(kept)
        picture += np.float32(1 - kept) * white
        picture += (flakes + np.rot90(flakes, k=2))[..., None]
        return picture

    return each(images_nhwc, seed, change)


def _grey(picture: Floats) -> Floats:
    if picture.shape[2] == 1:
        return picture
    grey: Floats = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    return grey
