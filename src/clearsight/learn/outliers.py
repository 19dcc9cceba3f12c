"""Pictures that show none of the classes, made from those that do: stand-ins for the unknown."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.core.seeds import generator

GRID = 4
STROKES = (2, 6)

Maker = Callable[[ImagesNHWC, np.random.Generator], ImageHWC]


def make_outliers(images_nhwc: ImagesNHWC, count: int, seed: int = 0) -> dict[str, ImagesNHWC]:
    """Return stand-ins for unknown pictures, by kind.

    Args:
        images_nhwc: (n, h, w, c) uint8 pictures of the known classes, n >= 2.
        count: how many of each kind.
        seed: draws them.

    Returns:
        "noise": smooth and rough random pictures with the known ones' grey levels; "shuffled":
        known pictures cut into 4 x 4 pieces in another order; "halves": the left half of one
        and the right half, upside down, of another; "strokes": thick curves on a known
        picture's darkest or brightest level.
    """
    kinds: dict[str, Maker] = {
        "noise": _noise,
        "shuffled": _shuffled,
        "halves": _halves,
        "strokes": _strokes,
    }
    found = {}
    for kind, maker in kinds.items():
        draw = generator(seed, "outliers", kind)
        found[kind] = np.stack([maker(images_nhwc, draw) for _ in range(count)])
    return found


def _any(images: ImagesNHWC, draw: np.random.Generator) -> ImageHWC:
    return np.asarray(images[int(draw.integers(len(images)))])


def _noise(images: ImagesNHWC, draw: np.random.Generator) -> ImageHWC:
    """Return random numbers, smoothed as often as not, with the grey levels of a known picture."""
    like = _any(images, draw)
    height, width, channels = like.shape
    cells = max(1, int(min(height, width) / 2 ** draw.integers(0, 5)))
    rough = draw.random((min(height, cells), min(width, cells), channels), dtype=np.float32)
    smooth = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    smooth = smooth.reshape(height, width, channels)
    found = np.empty_like(like)
    for channel in range(channels):
        places = smooth[..., channel].ravel().argsort(kind="stable")
        flat = np.empty(height * width, np.uint8)
        flat[places] = np.sort(like[..., channel].ravel())
        found[..., channel] = flat.reshape(height, width)
    return found


def _shuffled(images: ImagesNHWC, draw: np.random.Generator) -> ImageHWC:
    like = _any(images, draw)
    high, wide = like.shape[0] // GRID, like.shape[1] // GRID
    found = like.copy()
    if not high or not wide:
        return found[::-1, ::-1]
    places = [(row * high, column * wide) for row in range(GRID) for column in range(GRID)]
    for (y, x), which in zip(places, draw.permutation(len(places)), strict=True):
        from_y, from_x = places[which]
        found[y : y + high, x : x + wide] = like[from_y : from_y + high, from_x : from_x + wide]
    return found


def _halves(images: ImagesNHWC, draw: np.random.Generator) -> ImageHWC:
    found, other = _any(images, draw).copy(), _any(images, draw)
    middle = found.shape[1] // 2
    found[:, middle:] = other[::-1, middle:]
    return found


def _strokes(images: ImagesNHWC, draw: np.random.Generator) -> ImageHWC:
    like = _any(images, draw)
    height, width, channels = like.shape
    levels = like.reshape(-1, channels)
    ends = [levels.min(axis=0), levels.max(axis=0)]
    if draw.random() < 0.5:
        ends.reverse()
    found = np.empty_like(like)
    found[:] = ends[0]
    size = min(height, width)
    for _ in range(int(draw.integers(*STROKES))):
        points = draw.random((3, 2)) * 0.8 + 0.1
        places = np.linspace(0, 1, 24)[:, None]
        bend = (1 - places) ** 2 * points[0] + 2 * places * (1 - places) * points[1]
        curve = ((bend + places**2 * points[2]) * (width - 1, height - 1)).astype(np.int32)
        thick = max(1, round(size * float(draw.uniform(0.03, 0.12))))
        mask = np.zeros((height, width), np.uint8)
        cv2.polylines(mask, [curve], isClosed=False, color=255, thickness=thick)
        share = (cv2.GaussianBlur(mask, (0, 0), max(0.4, size / 80)) / 255)[..., None]
        found = (found * (1 - share) + ends[1] * share).astype(np.uint8)
    return found
