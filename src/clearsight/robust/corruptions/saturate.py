"""Saturate: colours that are too pale or too strong."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import CUT, Floats, Random, each_byte
from clearsight.robust.published import published

# factor of the saturation, what is added to it
SIDE_32 = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
SIDE_64 = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (30.0, 0.2))
SIDE_224 = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))


@distortion(
    "Saturate",
    group="extra",
    colour=True,
    uneven="published so: severities 1 and 2 take colour away, 3 to 5 add it",
)
def saturate(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Change the saturation of a picture in hue, saturation, value; a grey picture has none."""
    if images_nhwc.shape[3] == 1:
        return images_nhwc.copy()
    table = _lowering(*published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224))

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        red, green, blue = cv2.split(picture)
        value = np.maximum(np.maximum(red, green), blue)
        chroma = value - np.minimum(np.minimum(red, green), blue)
        lowered = table.take(value * np.int64(256) + chroma)
        grey = chroma == 0  # has the hue 0, which is red: the other channels are lowered
        below = (value - red, np.maximum(value - green, grey), np.maximum(value - blue, grey))
        lower: ImageHWC = cv2.merge(
            [(value - one * lowered + CUT).astype(np.uint8) for one in below]
        )
        return lower

    return each_byte(images_nhwc, seed, change)


@lru_cache(maxsize=8)
def _lowering(factor: float, added: float) -> Floats:
    """Return (65536,), at value * 256 + chroma: levels to go below the value, for every level that
    a channel is below it; where there is no colour, for the channels that are not red.
    """
    value, chroma = np.arange(256)[:, None], np.arange(256)[None, :]
    saturation = np.minimum(chroma / np.maximum(value, 1), 1)
    wanted = np.clip(saturation * factor + added, 0, 1)
    return (value * wanted / np.maximum(chroma, 1)).astype(np.float32).ravel()
