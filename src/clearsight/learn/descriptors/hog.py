"""Histograms of oriented gradients: one vector a picture."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Preprocessing
from clearsight.learn.descriptors import Kind, _grid
from clearsight.learn.descriptors._grid import cut
from clearsight.learn.onnx_graph import GraphBuilder

CLIP = 0.2
EPSILON = 1e-5
SMALL_CELL, LARGE_CELL = 4, 8
SMALL_CELL_UP_TO = 48


class Hog:
    """Square roots of L2-Hys normalised blocks of 2x2 cells (the Hellinger kernel's map).

    Numbers are ordered block row, block column, cell row, cell column, orientation; blocks
    overlap by one cell; with three channels a pixel's gradient is that of the strongest one.

    Source: Dalal and Triggs 2005, "Histograms of Oriented Gradients for Human Detection".
    """

    class Config(BaseConfig):
        """Options of the descriptor.

        Args:
            cell: side of a cell in pixels; None takes 4 up to 48 pixels, else 8.
            orientations: bins of the gradient's direction.
            signed: tell dark-to-light from light-to-dark (360 degrees instead of 180).
            interpolate: share a gradient among the nearest bins and cells (as Dalal and Triggs
                do) instead of giving all of it to one (as scikit-image does).
        """

        cell: int | None = Field(default=None, ge=2, le=64)
        orientations: int = Field(default=18, ge=3, le=72)
        signed: bool = True
        interpolate: bool = True

    kind: ClassVar[Kind] = "global"

    def __init__(self, config: Hog.Config) -> None:
        self.config = config

    def length(self, size: Preprocessing) -> int:
        """Return 4 cells of `orientations` for every block."""
        down, across = self._blocks(size)
        return down * across * 4 * self.config.orientations

    def points(self, size: Preprocessing) -> NDArray[np.float32]:
        """Return the centre."""
        return np.full((1, 2), 0.5, np.float32)

    def graph(self, graph: GraphBuilder, images: str, size: Preprocessing) -> str:
        """Add the nodes; numbers are 0 to 1."""
        across, down = _gradients(graph, images, size)
        if self.config.interpolate:
            maps = _shared(graph, across, down, size, self.config)
        else:
            maps = _nearest(graph, across, down, self.config)
        cell = self._cell(size)
        weigh = _tents if self.config.interpolate else _boxes
        rows, columns = (weigh(n, cell) for n in (size.height, size.width))
        cells = _grid.along_both(graph, maps, rows, columns)
        cells = graph.add("Transpose", cells, perm=[0, 3, 2, 1])
        blocks = _blocks(graph, cells, self._blocks(size))
        limited = graph.add("Min", _unit_length(graph, blocks), graph.constant(CLIP))
        root = graph.add("Sqrt", _unit_length(graph, limited))
        return graph.add("Flatten", root, axis=1)

    def _cell(self, size: Preprocessing) -> int:
        """Return the cell's side: as configured or by size, at most half of the shorter side."""
        shorter, longer = sorted((size.height, size.width))
        wanted = self.config.cell or (SMALL_CELL if longer <= SMALL_CELL_UP_TO else LARGE_CELL)
        return max(1, min(wanted, shorter // 2))

    def _blocks(self, size: Preprocessing) -> tuple[int, int]:
        """Blocks down and across."""
        cell = self._cell(size)
        return size.height // cell - 1, size.width // cell - 1


def _gradients(graph: GraphBuilder, images: str, size: Preprocessing) -> tuple[str, str]:
    """Central differences (n, 1, h, w), zero along the border they cannot reach."""
    floats = graph.add("Cast", images, to=1)
    planes = graph.add("Transpose", floats, perm=[0, 3, 1, 2])
    height, width = size.height, size.width
    across = graph.add("Sub", cut(graph, planes, 3, 2, width), cut(graph, planes, 3, 0, width - 2))
    down = graph.add("Sub", cut(graph, planes, 2, 2, height), cut(graph, planes, 2, 0, height - 2))
    across = graph.add("Pad", across, graph.constant([0, 0, 0, 1, 0, 0, 0, 1], np.int64))
    down = graph.add("Pad", down, graph.constant([0, 0, 1, 0, 0, 0, 1, 0], np.int64))
    return _of_strongest(graph, across, down) if size.channels > 1 else (across, down)


def _of_strongest(graph: GraphBuilder, across: str, down: str) -> tuple[str, str]:
    """Take each pixel's gradient from the channel where it is longest."""
    length = graph.add("Add", graph.add("Mul", across, across), graph.add("Mul", down, down))
    found = [cut(graph, maps, 1, 0, 1) for maps in (across, down, length)]
    for channel in (1, 2):
        other = [cut(graph, maps, 1, channel, channel + 1) for maps in (across, down, length)]
        longer = graph.add("Greater", other[2], found[2])
        found = [graph.add("Where", longer, *pair) for pair in zip(other, found, strict=True)]
    return found[0], found[1]


def _shared(
    graph: GraphBuilder, across: str, down: str, size: Preprocessing, config: Hog.Config
) -> str:
    """Each gradient as the sum of two neighbouring bins' directions (n, bins, h, w).

    Nearly linear in the angle. With u and v to the left and right of a bin's direction, its part
    is the smaller of two cross products with the gradient, if that is positive.
    """
    bins = config.orientations * (1 if config.signed else 2)
    width = 2 * math.pi / bins
    at = (np.arange(bins) + 0.5) * width
    left, right = (
        sign * np.stack([-np.sin(at + turn), np.cos(at + turn)], axis=1) / math.sin(width)
        for sign, turn in ((1, -width), (-1, width))
    )
    flat = graph.constant([0, 2, size.height * size.width], np.int64)
    vectors = graph.add("Reshape", graph.add("Concat", across, down, axis=1), flat)
    parts = (graph.add("MatMul", graph.constant(side), vectors) for side in (left, right))
    maps = graph.add("Relu", graph.add("Min", *parts))
    if not config.signed:
        halves = (cut(graph, maps, 1, at, at + bins // 2) for at in (0, bins // 2))
        maps = graph.add("Add", *halves)
    shape = graph.constant([0, config.orientations, size.height, size.width], np.int64)
    return graph.add("Reshape", maps, shape)


def _nearest(graph: GraphBuilder, across: str, down: str, config: Hog.Config) -> str:
    """Each gradient's length in the bin of its direction (n, bins, h, w)."""
    squares = graph.add("Add", graph.add("Mul", across, across), graph.add("Mul", down, down))
    position = _bin_position(graph, across, down, config)
    count = config.orientations
    index = graph.add("Min", graph.add("Floor", position), graph.constant(count - 1))
    bins = graph.constant(np.arange(count, dtype=np.float32).reshape(1, -1, 1, 1))
    chosen = graph.add("Cast", graph.add("Equal", index, bins), to=1)
    return graph.add("Mul", chosen, graph.add("Sqrt", squares))


def _bin_position(graph: GraphBuilder, across: str, down: str, config: Hog.Config) -> str:
    """The gradient's direction in units of bins, in [0, orientations]."""
    zero, one = graph.constant(0), graph.constant(1)
    flat = graph.add("Equal", down, zero)
    cotangent = graph.add("Div", across, graph.add("Where", flat, one, down))
    angle = graph.add("Sub", graph.constant(math.pi / 2), graph.add("Atan", cotangent))
    angle = graph.add("Where", flat, zero, angle)
    period = math.pi
    if config.signed:
        leftwards = graph.add("And", flat, graph.add("Less", across, zero))
        lower = graph.add("Or", graph.add("Less", down, zero), leftwards)
        half_turn = graph.add("Where", lower, graph.constant(math.pi), zero)
        angle, period = graph.add("Add", angle, half_turn), 2 * math.pi
    return graph.add("Mul", angle, graph.constant(config.orientations / period))


def _boxes(pixels: int, cell: int) -> NDArray[np.float64]:
    """Return (cells, pixels): the mean over each cell."""
    at = np.arange(pixels) // cell
    return np.asarray((at == np.arange(pixels // cell)[:, None]) / cell)


def _tents(pixels: int, cell: int) -> NDArray[np.float64]:
    """Return (cells, pixels): falling linearly from a cell's centre to its neighbours'."""
    middle = (np.arange(pixels // cell)[:, None] + 0.5) * cell - 0.5
    return np.asarray(np.maximum(0, 1 - np.abs(np.arange(pixels) - middle) / cell) / cell)


def _blocks(graph: GraphBuilder, cells: str, blocks: tuple[int, int]) -> str:
    """2x2 neighbouring cells side by side (n, down, across, 4 * bins)."""
    down, across = blocks
    axes = graph.constant([1, 2], np.int64)
    parts = [
        graph.add(
            "Slice",
            cells,
            graph.constant([row, column], np.int64),
            graph.constant([row + down, column + across], np.int64),
            axes,
        )
        for row in (0, 1)
        for column in (0, 1)
    ]
    return graph.add("Concat", *parts, axis=3)


def _unit_length(graph: GraphBuilder, blocks: str) -> str:
    squares = graph.add("Mul", blocks, blocks)
    total = graph.add("ReduceSum", squares, graph.constant([3], np.int64), keepdims=1)
    length = graph.add("Sqrt", graph.add("Add", total, graph.constant(EPSILON**2)))
    return graph.add("Div", blocks, length)
