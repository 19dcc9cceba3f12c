"""Blurs that several corruptions are made of, as NumPy arrays and OpenCV compute them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from clearsight.robust.pictures import Floats

MATRICES = 8


def gaussian(picture: Floats, sigma: float, truncate: float = 4.0) -> Floats:
    """Return a picture blurred, the border repeated outwards.

    Args:
        picture: (h, w) or (h, w, c) float32.
        sigma: in pixels.
        truncate: where the kernel ends, in sigmas.
    """
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return picture
    kernel = gaussian_kernel(sigma, radius)
    blurred = cv2.sepFilter2D(picture, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred.reshape(picture.shape), dtype=np.float32)


@lru_cache(maxsize=64)
def gaussian_kernel(sigma: float, radius: int) -> Floats:
    """Return the weights (2 * radius + 1,) of a Gaussian, which sum to 1."""
    distances = np.arange(-radius, radius + 1, dtype=np.float64)
    weights = np.exp(-0.5 * (distances / sigma) ** 2)
    return np.asarray(weights / weights.sum(), dtype=np.float32)


@lru_cache(maxsize=MATRICES)
def blur_matrix(size: int, sigma: float, truncate: float = 3.0) -> Floats:
    """Return (size, size): a row of pixels blurred, mirrored at its ends, is matrix @ row.

    A wide Gaussian over a small picture is cheaper as two matrix products than as a filter.
    """
    radius = int(truncate * sigma + 0.5)
    matrix = np.eye(size, dtype=np.float32)
    if radius == 0:
        return matrix
    weights = gaussian_kernel(sigma, radius)
    matrix[:] = 0
    rows = np.repeat(np.arange(size), 2 * radius + 1)
    places = np.add.outer(np.arange(size), np.arange(-radius, radius + 1)).ravel() % (2 * size)
    places = np.where(places < size, places, 2 * size - 1 - places)
    np.add.at(matrix, (rows, places), np.tile(weights, size))
    return matrix


def smooth_field(field: Floats, sigma: float) -> Floats:
    """Return an (h, w) float32 field under a Gaussian cut at 3 sigma, mirrored outside."""
    down = blur_matrix(field.shape[0], sigma)
    across = blur_matrix(field.shape[1], sigma)
    # OpenCV's product stays on this thread; NumPy's would take every core for each small picture
    product = cv2.gemm(down, cv2.gemm(field, across, 1, None, 0, flags=cv2.GEMM_2_T), 1, None, 0)
    return np.asarray(product, dtype=np.float32).reshape(field.shape)


def motion(picture: Floats, radius: int, sigma: float, angle: float) -> Floats:
    """Return a picture smeared along a line, ever weaker away from where it was.

    Args:
        picture: (h, w) or (h, w, c) float32.
        radius: half the length of the line in pixels.
        sigma: how fast the trace fades, in pixels.
        angle: of the line, in degrees.

    Source: ImageMagick's motion blur, which the published corruptions call.
    """
    steps = np.arange(2 * radius + 1, dtype=np.float64)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    across = np.ceil(steps * np.cos(np.deg2rad(angle)) - 0.5).astype(np.int64)
    down = np.ceil(steps * np.sin(np.deg2rad(angle)) - 0.5).astype(np.int64)
    left, top = int(across.min()), int(down.min())
    kernel = np.zeros((int(down.max()) - top + 1, int(across.max()) - left + 1), np.float32)
    np.add.at(kernel, (down - top, across - left), weights.astype(np.float32))
    smeared = cv2.filter2D(
        picture, -1, kernel, anchor=(-left, -top), borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(smeared.reshape(picture.shape), dtype=np.float32)


def disk(radius: float, alias_blur: float) -> Floats:
    """Return the kernel of a lens out of focus: a disk with its edge smoothed.

    Args:
        radius: in pixels.
        alias_blur: sigma of the smoothing, in pixels.
    """
    reach = 8 if radius <= 8 else int(radius)
    size = (3, 3) if radius <= 8 else (5, 5)
    places = np.arange(-reach, reach + 1)
    inside = (places[:, None] ** 2 + places[None, :] ** 2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(inside / inside.sum(), ksize=size, sigmaX=alias_blur)
    kept = np.flatnonzero(kernel.max(axis=0) > 0)
    return np.asarray(kernel[kept[0] : kept[-1] + 1, kept[0] : kept[-1] + 1], dtype=np.float32)


def zoomed(picture: Floats, factor: float) -> Floats:
    """Return the middle of a picture, enlarged to the picture's size.

    Args:
        picture: (h, w) or (h, w, c) float32.
        factor: 1 or more.
    """
    height, width = picture.shape[:2]
    down, top = _zoom_axis(height, factor)
    across, left = _zoom_axis(width, factor)
    enlarged = cv2.warpAffine(
        picture,
        np.array([[across, 0, left], [0, down, top]], np.float64),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(enlarged.reshape(picture.shape), dtype=np.float32)


def _zoom_axis(size: int, factor: float) -> tuple[float, float]:
    """Return step and start, in pixels of the source, of an axis that is cut and enlarged."""
    cut = int(np.ceil(size / factor))
    enlarged = max(round(cut * factor), size)
    step = (cut - 1) / (enlarged - 1) if enlarged > 1 else 1.0
    return step, (size - cut) // 2 + (enlarged - size) // 2 * step
