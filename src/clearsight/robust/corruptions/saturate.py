"""Saturate: colours that are too pale or too strong."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

# factor of the saturation, what is added to it
SIDE_32 = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
SIDE_64 = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (30.0, 0.2))
SIDE_224 = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))
RED = np.array([0, 1, 1], np.float32)


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
    factor, added = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)

    def change(picture: Floats, random: Random) -> Floats:
        value = picture.max(axis=2, keepdims=True)
        below = value - picture  # value * saturation * what the hue says
        chroma = below.max(axis=2, keepdims=True)
        saturation = np.divide(chroma, value, out=np.zeros_like(value), where=value > 0)
        wanted = np.clip(saturation * np.float32(factor) + np.float32(added), 0, 1)
        share = np.divide(below, chroma, out=np.zeros_like(below), where=chroma > 0)
        share = np.where(chroma > 0, share, RED)  # grey has the hue 0, which is red
        return np.asarray(value - value * wanted * share, dtype=np.float32)

    return each(images_nhwc, seed, change)
