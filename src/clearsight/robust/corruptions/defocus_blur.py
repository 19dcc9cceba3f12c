"""Defocus blur: the lens is not in focus."""

from __future__ import annotations

import cv2

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import disk
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

SIDE_32 = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
SIDE_64 = ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1))
SIDE_224 = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))


@distortion("Defocus blur", group="published")
def defocus_blur(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Spread every point over a disk whose radius grows with severity."""
    kernel = disk(*published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224))

    def change(picture: Floats, random: Random) -> Floats:
        blurred: Floats = cv2.filter2D(picture, -1, kernel).reshape(picture.shape)
        return blurred

    return each(images_nhwc, seed, change)
