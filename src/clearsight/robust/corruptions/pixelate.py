"""Pixelate: a small picture enlarged, its pixels seen as squares."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random, each_byte
from clearsight.robust.published import published

SIDE_32 = (0.95, 0.9, 0.85, 0.75, 0.65)
SIDE_64 = (0.9, 0.8, 0.7, 0.6, 0.5)
SIDE_224 = (0.6, 0.5, 0.4, 0.3, 0.25)


@distortion("Pixelate", group="published")
def pixelate(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Shrink a picture by averaging and enlarge it by repeating."""
    share = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)
    height, width = images_nhwc.shape[1:3]
    small = (max(1, int(width * share)), max(1, int(height * share)))

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        plain = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
        shrunk = plain.resize(small, Image.Resampling.BOX)
        return np.asarray(shrunk.resize((width, height), Image.Resampling.BOX))

    return each_byte(images_nhwc, seed, change)
