"""Contrast: everything is near the mean, as in haze or a wrong exposure."""

from __future__ import annotations

import cv2
import numpy as np

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random, each_byte, levels
from clearsight.robust.published import published

SIDE_32 = (0.75, 0.5, 0.4, 0.3, 0.15)
SIDE_64 = (0.4, 0.3, 0.2, 0.1, 0.05)
SIDE_224 = (0.4, 0.3, 0.2, 0.1, 0.05)
LEVELS = np.arange(256)[:, None] / 255


@distortion("Contrast", group="published")
def contrast(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Bring every channel nearer to its mean."""
    kept = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        mean = np.array(cv2.mean(picture)[: picture.shape[2]]) / 255
        table = levels(((LEVELS - mean) * kept + mean).astype(np.float32)).astype(np.uint8)
        nearer: ImageHWC = cv2.LUT(picture, table[None])
        return nearer

    return each_byte(images_nhwc, seed, change)
