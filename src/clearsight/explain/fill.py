"""What stands where a part of a picture is hidden."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImageHWC

BLUR = 1 / 6
"""Spread of the blur in parts of the picture's shorter side."""


def mean_colour(image_hwc: ImageHWC) -> NDArray[np.float32]:
    """Return a picture of one colour, the mean of `image_hwc`, float32."""
    mean = image_hwc.mean(axis=(0, 1), dtype=np.float64)
    return np.broadcast_to(mean, image_hwc.shape).astype(np.float32)


def blurred(image_hwc: ImageHWC) -> NDArray[np.float32]:
    """Return the picture blurred until only broad areas of colour are left, float32."""
    spread = max(1.0, BLUR * min(image_hwc.shape[:2]))
    found = cv2.GaussianBlur(image_hwc, (0, 0), spread, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.float32).reshape(image_hwc.shape)
