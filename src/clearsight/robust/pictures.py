"""Pictures changed one by one, each with a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImageHWC, ImagesNHWC

Floats = NDArray[np.float32]
Random = np.random.Generator
CUT = np.float32(1 / 256)
"""Added before levels are cut to whole numbers: 254.9999 is 255 that was divided and multiplied."""


def random_of(seed: int, index: int) -> Random:
    """Return the random stream of the picture in one place of a batch."""
    return np.random.Generator(np.random.PCG64([seed % 2**64, index]))


def each(
    images_nhwc: ImagesNHWC, seed: int, change: Callable[[Floats, Random], Floats]
) -> ImagesNHWC:
    """Return every picture changed as float32 (h, w, c) in [0, 1], levels cut as published.

    Args:
        images_nhwc: (n, h, w, c) uint8.
        seed: of the random streams.
        change: from a picture that it may write on, and its stream, to a picture of any range.
    """
    changed = np.empty_like(images_nhwc)
    for index, image in enumerate(images_nhwc):
        picture = image.astype(np.float32)
        picture *= np.float32(1 / 255)
        changed[index] = levels(change(picture, random_of(seed, index)))
    return changed


def each_byte(
    images_nhwc: ImagesNHWC, seed: int, change: Callable[[ImageHWC, Random], ImageHWC]
) -> ImagesNHWC:
    """Return every picture changed as it is, uint8 (h, w, c); see `each`."""
    changed = np.empty_like(images_nhwc)
    for index, image in enumerate(images_nhwc):
        changed[index] = change(image, random_of(seed, index)).reshape(image.shape)
    return changed


def levels(picture: Floats) -> Floats:
    """Return 0-255 from [0, 1], to be cut to whole numbers; the input is written on."""
    np.clip(picture, 0, 1, out=picture)
    picture *= np.float32(255)
    picture += CUT
    return picture
