"""Elastic: soft things bend, and a wavy surface mirrors so."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import smooth_field
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random
from clearsight.robust.warp import moved

SHARES = (0.01, 0.02, 0.03, 0.04, 0.055)
"""Of the shorter side, by which points move (root mean square)."""
WAVES = 12
"""The field is smooth over this part of the shorter side."""


@distortion("Elastic")
def elastic(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Move the points of a picture by a smooth random field.

    Source: Simard, Steinkraus and Platt 2003, "Best Practices for Convolutional Neural Networks
        Applied to Visual Document Analysis".
    """
    height, width = images_nhwc.shape[1:3]
    side = min(height, width)

    def field(random: Random) -> Floats:
        raw = smooth_field(2 * random.random((height, width), np.float32) - 1, side / WAVES)
        spread = max(float(np.sqrt((raw**2).mean())), 1e-6)
        return np.asarray(raw * (SHARES[severity - 1] * side / spread), dtype=np.float32)

    def places(random: Random) -> tuple[Floats, Floats]:
        across = field(random) + np.arange(width, dtype=np.float32)
        down = field(random) + np.arange(height, dtype=np.float32)[:, None]
        return across.astype(np.float32), down.astype(np.float32)

    return moved(images_nhwc, seed, places)
