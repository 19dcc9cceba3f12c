"""Dense SIFT: histograms of gradients in 4x4 parts of windows on a grid, at several sizes."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Preprocessing
from clearsight.learn.descriptors import Kind, _grid
from clearsight.learn.descriptors._contrast import Length, normalised
from clearsight.learn.onnx_graph import GraphBuilder

DIRECTIONS = 8
CLIP = 0.2
WINDOW_SIGMA = 2.0
"""Standard deviation of the window in parts (Lowe 2004, section 6.1: half of its width)."""
SMALL_PARTS, LARGE_PARTS = (2, 4), (2, 4, 8)
SMALL_STEP, LARGE_STEP = 2, 4
SMALL_UP_TO = 48


class Sift:
    """8 directions in each of 4x4 parts: 128 numbers a window, ordered row, column, direction.

    A gradient is shared among the two nearest directions as the sum of their vectors that it is
    (linear in the angle within 4 %), and among the nearest parts by distance; parts are weighted
    by a Gaussian on the window, lengths limited to 0.2. Directions are 0, 45, ... degrees from
    the x axis towards the y axis (down).

    Source: Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints"; Bosch,
    Zisserman and Munoz 2007 (dense, several sizes); Nowak, Jurie and Triggs 2006 (dense samples
    classify better than interest points); Arandjelovic and Zisserman 2012 (the root).
    """

    class Config(BaseConfig):
        """Options of the descriptor.

        Args:
            parts: sides in pixels of a window's parts, one a size; None takes (2, 4) up to 48
                pixels, else (2, 4, 8).
            step: pixels between windows; None takes 2 up to 48 pixels, else 4.
            smoothing: standard deviation in pixels of a Gaussian put on the picture before.
            root: take the square root of the L1-normalised descriptor.
        """

        parts: tuple[int, ...] | None = Field(default=None, min_length=1)
        step: int | None = Field(default=None, ge=1, le=64)
        smoothing: float = Field(default=0.0, ge=0, le=16)
        root: bool = True

    kind: ClassVar[Kind] = "local"

    def __init__(self, config: Sift.Config) -> None:
        self.config = config

    def length(self, size: Preprocessing) -> int:
        """Return 128."""
        return DIRECTIONS * _grid.PARTS**2

    def points(self, size: Preprocessing) -> NDArray[np.float32]:
        """Return the windows' centres."""
        return _grid.positions(self.windows(size), size)

    def windows(self, size: Preprocessing) -> list[_grid.Windows]:
        """Return where the windows are, in pixels."""
        small = max(size.height, size.width) <= SMALL_UP_TO
        parts = self.config.parts or (SMALL_PARTS if small else LARGE_PARTS)
        step = self.config.step or (SMALL_STEP if small else LARGE_STEP)
        return _grid.windows(size, parts, step)

    def graph(self, graph: GraphBuilder, images: str, size: Preprocessing) -> str:
        """Add the nodes; a flat window gives zeros, any other a vector of length 1."""
        grey = _grid.luma(graph, images, size)
        if self.config.smoothing:
            rows, columns = (
                _grid.blur(n, self.config.smoothing) for n in (size.height, size.width)
            )
            turned = graph.add("Transpose", grey, perm=[0, 1, 3, 2])
            grey = _grid.along_both(graph, turned, columns, rows)
        maps = _direction_maps(graph, grey, size)
        found = [
            _grid.pooled(
                graph,
                maps,
                DIRECTIONS,
                one,
                _tents(size.height, one.rows, one.part),
                _tents(size.width, one.columns, one.part),
            )
            for one in self.windows(size)
        ]
        vectors = graph.add("Concat", *found, axis=1)
        return normalised(graph, vectors, CLIP, Length.ROOT if self.config.root else Length.L2)


def _direction_maps(graph: GraphBuilder, grey: str, size: Preprocessing) -> str:
    """Each pixel's gradient as the sum of two neighbouring directions (n, 8, height, width)."""
    height, width = size.height, size.width
    pads = graph.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    halves = graph.add("Mul", grey, graph.constant(1 / 2))
    padded = graph.add("Pad", halves, pads, mode="edge")
    middle_rows = _grid.cut(graph, padded, 2, 1, height + 1)
    middle_columns = _grid.cut(graph, padded, 3, 1, width + 1)
    across = graph.add(
        "Sub",
        _grid.cut(graph, middle_rows, 3, 2, width + 2),
        _grid.cut(graph, middle_rows, 3, 0, width),
    )
    down = graph.add(
        "Sub",
        _grid.cut(graph, middle_columns, 2, 2, height + 2),
        _grid.cut(graph, middle_columns, 2, 0, height),
    )
    right, bottom = graph.add("Relu", across), graph.add("Relu", down)
    left, top = graph.add("Sub", right, across), graph.add("Sub", bottom, down)
    flat, steep = graph.add("Add", right, left), graph.add("Add", bottom, top)
    root = graph.constant(math.sqrt(2))
    maps = []
    for first, second, other in (
        (right, bottom, steep),
        (bottom, left, flat),
        (left, top, steep),
        (top, right, flat),
    ):
        maps.append(graph.add("Relu", graph.add("Sub", first, other)))
        maps.append(graph.add("Mul", graph.add("Min", first, second), root))
    return graph.add("Concat", *maps, axis=1)


def _tents(pixels: int, centres: NDArray[np.float64], part: float) -> NDArray[np.float64]:
    """Return (4 * centres, pixels): falling linearly from each part's centre to its neighbours'."""
    offsets = (np.arange(_grid.PARTS) - (_grid.PARTS - 1) / 2) * part
    at = np.arange(pixels)[None, None, :]
    middle = centres[:, None, None]
    tent = np.maximum(0, 1 - np.abs(at - middle - offsets[None, :, None]) / part)
    window = np.exp(-(((at - middle) / part) ** 2) / (2 * WINDOW_SIGMA**2))
    return np.asarray((tent * window / part).reshape(-1, pixels))
