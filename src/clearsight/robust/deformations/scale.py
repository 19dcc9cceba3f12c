"""Scale: the thing is nearer or farther away."""

from __future__ import annotations

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random
from clearsight.robust.warp import Matrix, sign, warped

FACTORS = (1.1, 1.2, 1.35, 1.6, 2.0)


@distortion("Scale")
def scale(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Enlarge or shrink a picture about its centre."""

    def matrix(random: Random) -> Matrix:
        factor = FACTORS[severity - 1] ** sign(random)
        return np.diag([factor, factor, 1.0])

    return warped(images_nhwc, seed, matrix)
