"""Brightness: overexposed."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

SIDE_32 = (0.05, 0.1, 0.15, 0.2, 0.3)
SIDE_64 = (0.1, 0.2, 0.3, 0.4, 0.5)
SIDE_224 = (0.1, 0.2, 0.3, 0.4, 0.5)


@distortion("Brightness", group="published")
def brightness(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Raise the value of a picture in hue, saturation, value; the colour stays."""
    added = np.float32(published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224))

    def change(picture: Floats, random: Random) -> Floats:
        value = picture.max(axis=2, keepdims=True)
        raised = np.minimum(value + added, np.float32(1))
        factor = np.divide(raised, value, out=np.zeros_like(value), where=value > 0)
        # hue and saturation kept: the channels keep their ratios; black becomes grey
        return np.asarray(np.where(value > 0, picture * factor, raised), dtype=np.float32)

    return each(images_nhwc, seed, change)
