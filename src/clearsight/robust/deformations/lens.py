"""Lens: straight lines bend outwards or inwards, as through a cheap or a wide lens."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random
from clearsight.robust.warp import moved, sign

BENDS = (0.08, 0.16, 0.25, 0.35, 0.48)
"""By which a point in the corner is seen nearer to the centre or farther away, as a share."""


@distortion("Lens")
def lens(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Bend a picture by radial distortion, barrel or pincushion.

    Source: Brown 1971, "Close-Range Camera Calibration" (the first radial coefficient).
    """
    height, width = images_nhwc.shape[1:3]
    down = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    across = np.arange(width, dtype=np.float32)[None, :] - np.float32((width - 1) / 2)
    corner = max(float(down[-1, 0]) ** 2 + float(across[0, -1]) ** 2, 1e-6)
    square = (down**2 + across**2) / np.float32(corner)

    def places(random: Random) -> tuple[Floats, Floats]:
        factor = 1 + np.float32(BENDS[severity - 1] * sign(random)) * square
        columns = across * factor + np.float32((width - 1) / 2)
        rows = down * factor + np.float32((height - 1) / 2)
        return columns.astype(np.float32), rows.astype(np.float32)

    return moved(images_nhwc, seed, places)
