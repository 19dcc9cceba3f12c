"""Brightness: overexposed."""

from __future__ import annotations

import cv2
import numpy as np

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import CUT, Random, each_byte
from clearsight.robust.published import published

SIDE_32 = (0.05, 0.1, 0.15, 0.2, 0.3)
SIDE_64 = (0.1, 0.2, 0.3, 0.4, 0.5)
SIDE_224 = (0.1, 0.2, 0.3, 0.4, 0.5)


@distortion("Brightness", group="published")
def brightness(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Raise the value of a picture in hue, saturation, value; the colour stays."""
    added = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)
    values = np.arange(256)
    lifted = np.minimum(values + 255 * added, 255)
    # hue and saturation kept: the channels keep their ratios; black becomes grey
    factors = (lifted / np.maximum(values, 1)).astype(np.float32)
    of_black = np.where(values == 0, lifted, 0).astype(np.float32)

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        channels = cv2.split(picture)
        value = channels[0]
        for channel in channels[1:]:
            value = np.maximum(value, channel)
        factor, grey = cv2.LUT(value, factors), cv2.LUT(value, of_black) + CUT
        raised = [(channel * factor + grey).astype(np.uint8) for channel in channels]
        brighter: ImageHWC = cv2.merge(raised)
        return brighter

    return each_byte(images_nhwc, seed, change)
