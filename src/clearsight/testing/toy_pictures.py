"""Pictures that are easy to tell apart, for contracts and tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImagesNHWC, Preprocessing

CLASSES = ("rows", "columns", "disc")
SIDE = 24


def toy_pictures(
    size: Preprocessing, per_class: int, seed: int
) -> tuple[ImagesNHWC, NDArray[np.int64]]:
    """Return uint8 (n, h, w, c) noisy stripes and discs, and their labels.

    Args:
        size: height, width and channels.
        per_class: pictures of each of `CLASSES`.
        seed: of the noise.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size.height, : size.width]
    down, across = y / size.height, x / size.width
    shapes = np.stack(
        [down * 4 % 1 < 0.5, across * 4 % 1 < 0.5, np.hypot(down - 0.5, across - 0.5) < 0.35]
    )
    labels = np.tile(np.arange(len(CLASSES)), per_class)
    contrast = random.uniform(80, 140, (len(labels), 1, 1))
    pictures = 60 + contrast * shapes[labels] + random.normal(0, 15, (len(labels), *y.shape))
    channels = np.repeat(pictures[..., None], size.channels, axis=3)
    return np.clip(channels, 0, 255).astype(np.uint8), labels.astype(np.int64)
