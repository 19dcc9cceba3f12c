"""Glass blur: seen through frosted glass, where neighbouring points change places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import gaussian
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each, levels
from clearsight.robust.published import published

SIDE_32 = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
SIDE_64 = ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2))
SIDE_224 = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
Places = NDArray[np.int32]


@distortion(
    "Glass blur",
    group="published",
    uneven="published so: points come from farther away at some severities, but in fewer rounds",
)
def glass_blur(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Blur, let every point take the colour of one near it, and blur again.

    The published program visits the points in an order, and a later point may take what an
    earlier one took. It means to exchange two points, but its exchange copies only; the data sets
    were made so, and so it is here.
    """
    sigma, reach, rounds = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)

    def change(picture: Floats, random: Random) -> Floats:
        height, width, channels = picture.shape
        blurred = levels(gaussian(picture, sigma)).astype(np.uint8).reshape(-1, channels)
        mixed = blurred.take(_taken(height, width, reach, rounds, random), axis=0)
        again = mixed.reshape(picture.shape).astype(np.float32) / np.float32(255)
        return gaussian(again, sigma)

    return each(images_nhwc, seed, change)


def _taken(height: int, width: int, reach: int, rounds: int, random: Random) -> Places:
    """Return (height * width,): from which point each point has its colour at last.

    Points are visited from the last to the first. Each takes the colour of one near it: what that
    one took if it was visited before, else what it was. So every chain of takings is followed to
    its end, all chains at once, twice as far with every step.
    """
    size = height * width
    grid = np.arange(size, dtype=np.int32).reshape(height, width)
    visited = np.s_[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    here = grid[visited]
    taken = grid.ravel()
    for _ in range(rounds):
        down, across = random.integers(-reach, reach, (2, *here.shape), np.int8).astype(np.int32)
        there = here + down * width + across
        # places 0 to size are points after their visit, the rest what they were before
        ends = np.concatenate([grid.ravel() + size, grid.ravel() + size])
        ends[:size].reshape(height, width)[visited] = np.where(there > here, there, there + size)
        while (ends[:size] < size).any():
            ends[:size] = ends.take(ends[:size])
        taken = taken.take(ends[:size] - size)
    return taken
