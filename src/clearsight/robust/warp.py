"""Pictures whose points are elsewhere; what comes from outside is the picture mirrored."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.pictures import Floats, Random, each_byte

Matrix = NDArray[np.float64]
Moves = Callable[[Random], tuple[Floats, Floats]]


def warped(images_nhwc: ImagesNHWC, seed: int, matrix: Callable[[Random], Matrix]) -> ImagesNHWC:
    """Return every picture under a projective map.

    Args:
        images_nhwc: (n, h, w, c) uint8.
        seed: of the random streams.
        matrix: from a picture's stream to (3, 3): from places (x, y, 1) in the changed picture to
            places in the picture, both measured in pixels from the centre.
    """
    height, width = images_nhwc.shape[1:3]
    to_centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    from_centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        moved: ImageHWC = cv2.warpPerspective(
            picture,
            from_centre @ matrix(random) @ to_centre,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return moved

    return each_byte(images_nhwc, seed, change)


def moved(images_nhwc: ImagesNHWC, seed: int, places: Moves) -> ImagesNHWC:
    """Return every picture with its points fetched from elsewhere.

    Args:
        images_nhwc: (n, h, w, c) uint8.
        seed: of the random streams.
        places: from a picture's stream to columns and rows (h, w) to fetch from, in pixels.
    """

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        across, down = places(random)
        fetched: ImageHWC = cv2.remap(
            picture, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        return fetched

    return each_byte(images_nhwc, seed, change)


def sign(random: Random) -> float:
    """Return 1 or -1."""
    return 1.0 if random.random() < 0.5 else -1.0
