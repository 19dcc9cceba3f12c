"""Contrast: everything is near the mean, as in haze or a wrong exposure."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

SIDE_32 = (0.75, 0.5, 0.4, 0.3, 0.15)
SIDE_64 = (0.4, 0.3, 0.2, 0.1, 0.05)
SIDE_224 = (0.4, 0.3, 0.2, 0.1, 0.05)


@distortion("Contrast", group="published")
def contrast(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Bring every channel nearer to its mean."""
    kept = np.float32(published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224))

    def change(picture: Floats, random: Random) -> Floats:
        mean = picture.mean(axis=(0, 1), keepdims=True, dtype=np.float64).astype(np.float32)
        picture -= mean
        picture *= kept
        picture += mean
        return picture

    return each(images_nhwc, seed, change)
