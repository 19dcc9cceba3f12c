"""Windows on a regular grid, each of 4x4 parts: how dense SIFT and SURF place and pool them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import Preprocessing
from clearsight.learn.onnx_graph import GraphBuilder

PARTS = 4
"""Parts of a window along each axis."""
LUMA = (0.299, 0.587, 0.114)
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
    """Windows of one size.

    Args:
        part: side of one of the 4x4 parts in pixels.
        rows, columns: centres in pixels, 0 in the middle of the first pixel.
    """

    part: float
    rows: Matrix
    columns: Matrix


def windows(size: Preprocessing, parts: Sequence[int], step: int) -> list[Windows]:
    """Return windows of 4 times each part's side that lie inside the picture, evenly about it.

    A window that is larger than the picture is shrunk until one fits; equal ones are dropped.
    """
    largest = min(size.height, size.width) / PARTS
    sides = dict.fromkeys(min(float(part), largest) for part in parts)
    return [
        Windows(side, *(_centres(n, PARTS * side, step) for n in (size.height, size.width)))
        for side in sides
    ]


def positions(grid: Sequence[Windows], size: Preprocessing) -> NDArray[np.float32]:
    """Return (points, 2) centres, as parts of height and width, in the order of `pooled`."""
    found = [
        ((row + 0.5) / size.height, (column + 0.5) / size.width)
        for one in grid
        for row in one.rows
        for column in one.columns
    ]
    return np.array(found, dtype=np.float32)


def luma(graph: GraphBuilder, images: str, size: Preprocessing) -> str:
    """Return the pictures' brightness (n, 1, height, width) float32, 0 to 255."""
    floats = graph.add("Cast", images, to=1)
    if size.channels == 3:
        weights = graph.constant(np.array(LUMA)[:, None])
        floats = graph.add("MatMul", floats, weights)
    shape = graph.constant([0, 1, size.height, size.width], np.int64)
    return graph.add("Reshape", floats, shape)


def cut(graph: GraphBuilder, maps: str, axis: int, begin: int, end: int) -> str:
    """Return maps from `begin` to before `end` along an axis."""
    ends = (graph.constant([value], np.int64) for value in (begin, end, axis))
    return graph.add("Slice", maps, *ends)


def along_both(graph: GraphBuilder, maps: str, rows: Matrix, columns: Matrix) -> str:
    """Return rows @ map @ columns^T, transposed, of every map (..., height, width).

    The matrices stand on the left of both products: measured several times faster in OpenVINO
    than a constant on the right.
    """
    down = graph.add("MatMul", graph.constant(rows), maps)
    turned = graph.add("Transpose", down, perm=[0, 1, 3, 2])
    return graph.add("MatMul", graph.constant(columns), turned)


def pooled(
    graph: GraphBuilder, maps: str, count: int, one: Windows, rows: Matrix, columns: Matrix
) -> str:
    """Return what each part of each window holds of each map (n, windows, 16 * count).

    Args:
        maps: tensor (n, count, height, width).
        rows, columns: (4 * windows along the axis, pixels) weights of the pixels.
    """
    down, across = len(one.rows), len(one.columns)
    parts = along_both(graph, maps, rows, columns)  # (n, count, 4 across, 4 down)
    split = graph.constant([0, count, across, PARTS, down, PARTS], np.int64)
    ordered = graph.add("Transpose", graph.add("Reshape", parts, split), perm=[0, 4, 2, 5, 3, 1])
    flat = graph.constant([0, down * across, PARTS * PARTS * count], np.int64)
    return graph.add("Reshape", ordered, flat)


def blur(pixels: int, sigma: float) -> Matrix:
    """Return (pixels, pixels) weights of a Gaussian; the border pixel goes on outside."""
    if sigma == 0:
        return np.eye(pixels)
    reach = int(np.ceil(4 * sigma))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    return band(pixels, offsets, kernel / kernel.sum())


def band(pixels: int, offsets: NDArray[np.int64], weights: Matrix) -> Matrix:
    """Return (pixels, pixels): row i weighs pixel i + offset; the border pixel goes on outside."""
    matrix = np.zeros((pixels, pixels))
    at = np.arange(pixels)
    for offset, weight in zip(offsets, weights, strict=True):
        np.add.at(matrix, (at, np.clip(at + offset, 0, pixels - 1)), weight)
    return matrix


def _centres(pixels: int, window: float, step: int) -> Matrix:
    many = int(max(0.0, pixels - window) // step) + 1
    return np.asarray((pixels - 1) / 2 + step * (np.arange(many) - (many - 1) / 2), np.float64)
