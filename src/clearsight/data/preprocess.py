"""A decoded picture to the model's input: one function for training, prediction and the service."""

from __future__ import annotations

import cv2
import numpy as np

from clearsight.core.nouns import ImageHWC, Preprocessing
from clearsight.data.decode import Limits, decode

VERSION = 1  # part of the pixel cache's key: raise it when the same picture gives other pixels
OVERSAMPLING = 2  # what a JPEG decoded at reduced size must keep in each direction
_DEFAULT = Limits()


def prepare(image: ImageHWC, preprocessing: Preprocessing) -> ImageHWC:
    """Bring one picture to the model's input size and channels.

    Shrinking averages (`cv2.INTER_AREA`), enlarging is bilinear, each axis on its own; grey is
    BT.601 luma, so that a picture with three equal channels keeps exactly its values.

    Args:
        image: (height, width, 3) uint8 RGB of any size from 1 x 1; not modified.
        preprocessing: what the model wants.

    Returns:
        (preprocessing.height, preprocessing.width, preprocessing.channels) uint8.
    """
    if preprocessing.channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    height, width = preprocessing.height, preprocessing.width
    if preprocessing.fit == "crop":
        image = _centre(image, height, width)
    if preprocessing.fit != "letterbox":
        return _resize(image, height, width)
    return _letterbox(image, height, width, preprocessing.pad_value)


def prepare_encoded(
    encoded: bytes, preprocessing: Preprocessing, limits: Limits = _DEFAULT
) -> ImageHWC:
    """Decode one picture and bring it to the model's input size; see `prepare`.

    A JPEG that is far larger than the input is shrunk by 2, 4 or 8 while it is decoded, never
    below twice the input: a 12-megapixel photo then takes less than half the time.

    Args:
        encoded: the bytes of a JPEG, PNG, WebP, GIF, BMP or TIFF file.
        preprocessing: what the model wants.
        limits: what the picture may cost.

    Raises:
        ImageError: the bytes are no usable picture.
    """
    min_size = (OVERSAMPLING * preprocessing.height, OVERSAMPLING * preprocessing.width)
    return prepare(decode(encoded, limits, min_size), preprocessing)


def _resize(image: ImageHWC, height: int, width: int) -> ImageHWC:
    """Shrink the axes that shrink, then enlarge the others: cv2 mixes the two up in one call."""
    small = (min(height, image.shape[0]), min(width, image.shape[1]))
    for (to_height, to_width), method in (
        (small, cv2.INTER_AREA),
        ((height, width), cv2.INTER_LINEAR),
    ):
        if image.shape[:2] != (to_height, to_width):
            resized = cv2.resize(image, (to_width, to_height), interpolation=method)
            image = resized if resized.ndim == 3 else resized[:, :, None]
    return np.ascontiguousarray(image)


def _centre(image: ImageHWC, height: int, width: int) -> ImageHWC:
    """Cut the largest centred part with the aspect ratio height : width."""
    rows, columns = image.shape[:2]
    keep_rows = min(rows, max(1, round(columns * height / width)))
    keep_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - keep_rows) // 2, (columns - keep_columns) // 2
    return image[top : top + keep_rows, left : left + keep_columns]


def _letterbox(image: ImageHWC, height: int, width: int, pad_value: int) -> ImageHWC:
    rows, columns = image.shape[:2]
    scale = min(height / rows, width / columns)
    inner_height = min(height, max(1, round(rows * scale)))
    inner_width = min(width, max(1, round(columns * scale)))
    canvas = np.full((height, width, image.shape[2]), pad_value, np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    inner = canvas[top : top + inner_height, left : left + inner_width]
    inner[:] = _resize(image, inner_height, inner_width)
    return canvas
