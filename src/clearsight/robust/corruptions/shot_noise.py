"""Shot noise: light comes in grains, and in the dark they can be counted."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random, each_byte, levels
from clearsight.robust.published import published

SIDE_32 = (500, 250, 100, 75, 50)
SIDE_64 = (250, 100, 50, 30, 15)
SIDE_224 = (60, 25, 12, 5, 3)
DRAWS = 1 << 14


@distortion("Shot noise", group="published")
def shot_noise(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Replace every value by a Poisson count of as many grains, the fewer the stronger."""
    table = _counted(published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224))

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        places = picture.astype(np.int64) * DRAWS
        places += random.integers(0, DRAWS, picture.shape, np.uint16)
        return table.take(places)

    return each_byte(images_nhwc, seed, change)


@lru_cache(maxsize=8)
def _counted(grains: int) -> NDArray[np.uint8]:
    """Return (256 * DRAWS,): for every level, what it becomes, as often as the Poisson law says.

    One equally likely draw of 16,384 then costs one look-up, where a Poisson number costs ten.
    """
    counts = np.arange(grains + 1)
    light = np.arange(256)[:, None] * (grains / 255)
    logarithm = np.log(np.maximum(light, 1e-300)) * counts
    chances = np.exp(logarithm - light - [math.lgamma(count + 1) for count in counts])
    ends = np.rint(np.cumsum(chances[:, :-1], axis=1) * DRAWS).astype(np.int64)
    # more grains than light of 1 gives are cut, so the last count stands for all above it too
    times = np.diff(ends, axis=1, prepend=0, append=DRAWS)
    become = levels((counts / grains).astype(np.float32)).astype(np.uint8)
    return np.concatenate([np.repeat(become, row) for row in times])
