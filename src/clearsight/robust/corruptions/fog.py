"""Fog: a veil that is denser in some places than in others."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

# density of the veil, how fast its detail fades
SIDE_32 = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
SIDE_64 = ((0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75))
SIDE_224 = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
FIRST_WIBBLE = 100.0


@distortion("Fog", group="published")
def fog(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Add a plasma fractal to a picture and scale it back to the brightness it had."""
    density, decay = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)
    height, width = images_nhwc.shape[1:3]
    size = 1 << (max(height, width) - 1).bit_length()

    def change(picture: Floats, random: Random) -> Floats:
        brightest = np.float32(picture.max())
        veil = plasma(size, decay, random)[:height, :width]
        picture += np.float32(density) * veil[..., None]
        picture *= brightest / (brightest + np.float32(density))
        return picture

    return each(images_nhwc, seed, change)


def plasma(size: int, decay: float, random: Random) -> Floats:
    """Return a height map (size, size) float32 in [0, 1] that joins up at its edges.

    Args:
        size: a power of two.
        decay: by how much each finer step is flatter.
        random: where the heights come from.

    Source: Fournier, Fussell and Carpenter 1982, "Computer Rendering of Stochastic Models"
        (diamond-square).
    """
    field = np.zeros((size, size), np.float32)
    step, wibble = size, FIRST_WIBBLE
    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]

        def near(total: Floats, reach: float = wibble) -> Floats:
            moved = random.random(total.shape, np.float32)
            return np.asarray(
                total / 4 + np.float32(reach * reach) * (2 * moved - 1), dtype=np.float32
            )

        right, below = np.roll(corners, -1, axis=1), np.roll(corners, -1, axis=0)
        centres = near(corners + right + below + np.roll(below, -1, axis=1))
        field[half::step, half::step] = centres
        field[::step, half::step] = near(centres + np.roll(centres, 1, axis=0) + corners + right)
        field[half::step, ::step] = near(centres + np.roll(centres, 1, axis=1) + corners + below)
        step, wibble = half, wibble / decay
    field -= field.min()
    return np.asarray(field / max(float(field.max()), 1e-12), dtype=np.float32)
