"""Elastic transform: the picture stretched and wrinkled like a rubber sheet."""

from __future__ import annotations

import cv2
import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import smooth_field
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

# strength and width of the wrinkles, strength of the stretching, all in pixels
SIDE_32 = ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96))
SIDE_64 = (
    (0, 0, 5.12),
    (3.2, 19.2, 3.84),
    (6.4, 5.12, 3.84),
    (6.4, 1.92, 1.92),
    (10.24, 1.92, 1.28),
)
SIDE_224 = (
    (488, 170.8, 24.4),
    (488, 19.52, 48.8),
    (12.2, 2.44, 4.88),
    (17.08, 2.44, 4.88),
    (29.28, 2.44, 4.88),
)


@distortion(
    "Elastic transform",
    group="published",
    uneven="published so: severities 1 and 2 stretch more than 3 to 5, which wrinkle more",
)
def elastic_transform(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Stretch a picture by a random affine map and move its points by a smooth random field."""
    strength, width, stretch = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)

    def change(picture: Floats, random: Random) -> Floats:
        rows, columns = picture.shape[:2]
        stretched = _stretched(picture, stretch, random)
        if strength == 0:
            return stretched
        fields = 2 * random.random((2, rows, columns), np.float32) - 1
        across, down = (np.float32(strength) * smooth_field(field, width) for field in fields)
        across += np.arange(columns, dtype=np.float32)
        down += np.arange(rows, dtype=np.float32)[:, None]
        moved = cv2.remap(stretched, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(moved.reshape(picture.shape), dtype=np.float32)

    return each(images_nhwc, seed, change)


def _stretched(picture: Floats, stretch: float, random: Random) -> Floats:
    """Return the picture under the affine map that moves three points by up to `stretch`."""
    rows, columns = picture.shape[:2]
    centre = np.array([rows // 2, columns // 2], np.float32)
    reach = np.float32(max(1, min(rows, columns) // 3))
    points = np.stack(
        [
            centre + reach,
            np.array([centre[0] + reach, centre[1] - reach], np.float32),
            centre - reach,
        ]
    ).astype(np.float32)
    shifts = np.asarray(random.uniform(-stretch, stretch, points.shape), dtype=np.float32)
    moved = points + shifts
    affine = cv2.getAffineTransform(points, moved)
    stretched = cv2.warpAffine(picture, affine, (columns, rows), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(stretched.reshape(picture.shape), dtype=np.float32)
