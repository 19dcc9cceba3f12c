"""JPEG compression: blocks and rings of a small file."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random, each_byte
from clearsight.robust.published import published

SIDE_32 = (80, 65, 58, 50, 40)
SIDE_64 = (65, 58, 50, 40, 25)
SIDE_224 = (25, 18, 15, 10, 7)


@distortion("JPEG compression", group="published")
def jpeg_compression(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Write a picture as JPEG of low quality and read it again."""
    quality = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        stream = io.BytesIO()
        plain = picture[..., 0] if picture.shape[2] == 1 else picture
        Image.fromarray(plain).save(stream, "JPEG", quality=quality)
        with Image.open(stream) as opened:
            return np.asarray(opened)

    return each_byte(images_nhwc, seed, change)
