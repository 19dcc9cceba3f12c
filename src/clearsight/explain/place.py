"""From places of the model's input back to places of the picture it was made from."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import Preprocessing
from clearsight.explain.explainer import Maps

PLATEAU = 1e-6
Box = tuple[float, float, float, float]


def peak(map_hw: NDArray[np.float32]) -> tuple[int, int]:
    """Return (y, x) of a map's largest value; of a plateau the pixel nearest to its middle.

    Args:
        map_hw: (h, w) float32, finite.

    Example:
        >>> peak(np.array([[0, 1, 1, 1]], np.float32))
        (0, 2)
    """
    highest, lowest = float(map_hw.max()), float(map_hw.min())
    y, x = np.nonzero(map_hw >= highest - PLATEAU * (highest - lowest))
    nearest = int(np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2))
    return int(y[nearest]), int(x[nearest])


def in_picture(
    place: tuple[int, int], preprocessing: Preprocessing, size: tuple[int, int]
) -> tuple[int, int]:
    """Return where a pixel of the model's input is in the picture.

    Args:
        place: (y, x) in the input.
        preprocessing: what made the input from the picture.
        size: (height, width) of the picture, turned as its EXIF orientation says.

    Returns:
        (y, x) in the picture's own pixels, inside it.

    Example:
        >>> in_picture((2, 2), Preprocessing(height=4, width=4), (40, 80))
        (25, 50)
    """
    top, left, height, width = _box(preprocessing, size)
    found = []
    for at, start, length, inner, whole in (
        (place[0], top, height, preprocessing.height, size[0]),
        (place[1], left, width, preprocessing.width, size[1]),
    ):
        position = start + (at + 0.5) / inner * length
        found.append(min(whole - 1, max(0, int(position))))
    return found[0], found[1]


def over_picture(
    map_hw: NDArray[np.float32], preprocessing: Preprocessing, size: tuple[int, int]
) -> Maps:
    """Return a map as large as the picture; 0 where the model does not look (cut borders).

    Args:
        map_hw: (h, w) float32 at the input's size, 0 for no evidence.
        preprocessing: what made the input from the picture.
        size: (height, width) to give, of the picture or of the picture shrunk.
    """
    top, left, height, width = _box(preprocessing, size)
    rows, columns = map_hw.shape
    # from pixels of the picture to those of the input, both taken at their centres
    matrix = np.array(
        [
            [columns / width, 0, (0.5 - left) * columns / width - 0.5],
            [0, rows / height, (0.5 - top) * rows / height - 0.5],
        ],
        dtype=np.float64,
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = preprocessing.fit == "crop"
    border = cv2.BORDER_CONSTANT if inside else cv2.BORDER_REPLICATE
    found = cv2.warpAffine(map_hw, matrix, (size[1], size[0]), flags=flags, borderMode=border)
    return np.asarray(found, dtype=np.float32)


def _box(preprocessing: Preprocessing, size: tuple[int, int]) -> Box:
    """Return top, left, height, width of what the input shows, in pixels of the picture."""
    rows, columns = size
    height, width = preprocessing.height, preprocessing.width
    if preprocessing.fit == "crop":
        kept = min(rows, columns * height / width), min(columns, rows * width / height)
        return (rows - kept[0]) / 2, (columns - kept[1]) / 2, kept[0], kept[1]
    if preprocessing.fit == "letterbox":
        scale = min(height / rows, width / columns)
        whole = height / scale, width / scale
        return (rows - whole[0]) / 2, (columns - whole[1]) / 2, whole[0], whole[1]
    return 0.0, 0.0, float(rows), float(columns)
