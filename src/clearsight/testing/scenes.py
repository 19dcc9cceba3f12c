"""Pictures that look a little like photographs: soft shading, an edge, pale colours."""

from __future__ import annotations

import cv2
import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.core.seeds import generator


def scenes(n: int, height: int, width: int, channels: int = 3, seed: int = 0) -> ImagesNHWC:
    """Return uint8 (n, height, width, channels) pictures of clouds with a disc.

    Args:
        n, height, width, channels: their shape; channels 1 or 3.
        seed: the same seed, the same pictures.
    """
    random = generator(seed, "scenes")
    down, across = np.mgrid[:height, :width]
    pictures = np.empty((n, height, width, channels), np.uint8)
    for index in range(n):
        light = np.zeros((height, width, channels), np.float32)
        for octave in range(1, 6):
            cells = random.standard_normal((2**octave, 2**octave, 1 + channels)).astype(np.float32)
            large = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)
            large = large.reshape(height, width, 1 + channels)
            light += np.float32(0.6**octave) * (large[..., :1] + np.float32(0.3) * large[..., 1:])
        row, column = random.uniform(0.3, 0.7, 2)
        inside = np.hypot(down - row * height, across - column * width) < 0.25 * min(height, width)
        light += inside[..., None] * random.uniform(-1.5, 1.5, channels).astype(np.float32) * 0.4
        light += inside[..., None] * np.float32(random.choice((-0.8, 0.8)))
        pictures[index] = np.clip(120 + 60 * light, 0, 255)
    return pictures
