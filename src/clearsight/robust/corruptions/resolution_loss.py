"""Resolution loss: a smaller picture, enlarged smoothly, as from a distance or a thumbnail."""

from __future__ import annotations

import cv2

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Random, each_byte

SHRINK = (1.25, 1.5, 2.0, 3.0, 4.0)


@distortion("Resolution loss")
def resolution_loss(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Shrink a picture by averaging and enlarge it by linear interpolation."""
    height, width = images_nhwc.shape[1:3]
    factor = SHRINK[severity - 1]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))

    def change(picture: ImageHWC, random: Random) -> ImageHWC:
        shrunk = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        enlarged: ImageHWC = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)
        return enlarged

    return each_byte(images_nhwc, seed, change)
