"""Gaussian blur: fine detail is gone."""

from __future__ import annotations

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import gaussian
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

SIDE_32 = (0.4, 0.6, 0.7, 0.8, 1.0)
SIDE_64 = (0.5, 0.75, 1.0, 1.25, 1.5)
SIDE_224 = (1.0, 2.0, 3.0, 4.0, 6.0)


@distortion("Gaussian blur", group="extra")
def gaussian_blur(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Spread every point over a bell whose width grows with severity."""
    sigma = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)

    def change(picture: Floats, random: Random) -> Floats:
        return gaussian(picture, sigma)

    return each(images_nhwc, seed, change)
