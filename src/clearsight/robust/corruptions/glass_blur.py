"""Glass blur: seen through frosted glass, where neighbouring points change places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import gaussian
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import levels, random_of
from clearsight.robust.published import published

SIDE_32 = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
SIDE_64 = ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2))
SIDE_224 = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
PIECE_PIXELS = 2 * 1024 * 1024
Places = NDArray[np.int32]


@distortion(
    "Glass blur",
    group="published",
    uneven="published so: points come from farther away at some severities, but in fewer rounds",
)
def glass_blur(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Blur, let every point take the colour of one near it, and blur again.

    The published program visits the points in an order, and a later point may take what an
    earlier one took. It means to exchange two points, but its exchange copies only; the data sets
    were made so, and so it is here. Points whose reaches do not meet are done at once (`_waves`).
    """
    sigma, reach, rounds = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)
    n, height, width, channels = images_nhwc.shape
    size = max(1, PIECE_PIXELS // (height * width))
    changed = np.empty_like(images_nhwc)
    for start in range(0, n, size):
        part = range(start, min(start + size, n))
        taken = _taken(part, height, width, int(reach), int(rounds), seed)
        for row, index in zip(taken, part, strict=True):
            picture = images_nhwc[index].astype(np.float32) / np.float32(255)
            blurred = levels(gaussian(picture, sigma)).astype(np.uint8)
            mixed = blurred.reshape(-1, channels)[row].reshape(picture.shape)
            changed[index] = levels(gaussian(mixed.astype(np.float32) / np.float32(255), sigma))
    return changed


def _taken(part: range, height: int, width: int, reach: int, rounds: int, seed: int) -> Places:
    """Return (pictures, height * width): from which point each point has its colour."""
    taken = np.tile(np.arange(height * width, dtype=np.int32), (len(part), 1))
    rows = np.arange(height - reach, reach, -1)
    columns = np.arange(width - reach, reach, -1)
    if not len(rows) or not len(columns):
        return taken
    waves = _waves(len(rows), len(columns), 2 * reach + 1)
    for number in range(rounds):
        shape = (2, len(rows), len(columns))
        moves = np.stack(
            [
                random_of(seed, index * rounds + number).integers(-reach, reach, shape, np.int8)
                for index in part
            ]
        ).astype(np.int32)
        from_rows = rows[:, None].astype(np.int32) + moves[:, 0]
        sources = from_rows * width + columns.astype(np.int32) + moves[:, 1]
        targets = (rows[:, None] * width + columns).ravel()
        flat = np.ascontiguousarray(sources.reshape(len(part), -1))
        pictures = np.arange(len(part))[:, None]
        for wave in waves:
            taken[:, targets[wave]] = taken[pictures, flat[:, wave]]
    return taken


def _waves(rows: int, columns: int, apart: int) -> list[NDArray[np.int64]]:
    """Return the points of a grid in groups that may be done at once.

    Point (i, j) comes in step i * apart + j: later than everything before it that is near enough
    to matter, and points of one step are `apart` columns from each other.
    """
    step = np.add.outer(np.arange(rows) * apart, np.arange(columns)).ravel()
    order = np.argsort(step, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(step[order])) + 1)
