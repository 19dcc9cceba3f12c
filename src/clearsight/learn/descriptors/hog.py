"""Histograms of oriented gradients: one vector a picture."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Preprocessing
from clearsight.learn.descriptors import Kind
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
        orientations: int = Field(default=18, ge=2, le=72)
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
        across, down = _gradients(graph, images, size.channels)
        magnitude = graph.add(
            "Sqrt",
            graph.add("Add", graph.add("Mul", across, across), graph.add("Mul", down, down)),
        )
        if size.channels > 1:
            strongest = graph.add("ArgMax", magnitude, axis=1, keepdims=1)
            across, down, magnitude = (
                graph.add("GatherElements", maps, strongest, axis=1)
                for maps in (across, down, magnitude)
            )
        position = _bin_position(graph, across, down, self.config)
        maps = graph.add("Mul", _bin_shares(graph, position, self.config), magnitude)
        cells = _cells(graph, maps, self._cell(size), self.config)
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


def _gradients(graph: GraphBuilder, images: str, channels: int) -> tuple[str, str]:
    """Central differences (n, c, h, w), zero along the border they cannot reach."""
    floats = graph.add("Cast", images, to=1)
    planes = graph.add("Transpose", floats, perm=[0, 3, 1, 2])
    across = np.zeros((channels, 1, 1, 3), np.float32)
    across[..., 0], across[..., 2] = -1, 1
    down = across.transpose(0, 1, 3, 2)
    gx = graph.add("Conv", planes, graph.constant(across), group=channels)
    gy = graph.add("Conv", planes, graph.constant(down), group=channels)
    return (
        graph.add("Pad", gx, graph.constant([0, 0, 0, 1, 0, 0, 0, 1], np.int64)),
        graph.add("Pad", gy, graph.constant([0, 0, 1, 0, 0, 0, 1, 0], np.int64)),
    )


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


def _bin_shares(graph: GraphBuilder, position: str, config: Hog.Config) -> str:
    """How much of each gradient goes to each bin (n, orientations, h, w); sums to one."""
    bins = np.arange(config.orientations, dtype=np.float32).reshape(1, -1, 1, 1)
    count = config.orientations
    if not config.interpolate:
        index = graph.add("Min", graph.add("Floor", position), graph.constant(count - 1))
        return graph.add("Cast", graph.add("Equal", index, graph.constant(bins)), to=1)
    apart = graph.add("Abs", graph.add("Sub", position, graph.constant(bins + 0.5)))
    around = graph.add("Min", apart, graph.add("Sub", graph.constant(count), apart))
    return graph.add("Relu", graph.add("Sub", graph.constant(1), around))


def _cells(graph: GraphBuilder, maps: str, cell: int, config: Hog.Config) -> str:
    """Mean (or distance-weighted mean) of the maps over each cell (n, down, across, bins)."""
    if not config.interpolate:
        cells = graph.add("AveragePool", maps, kernel_shape=[cell, cell], strides=[cell, cell])
        return graph.add("Transpose", cells, perm=[0, 2, 3, 1])
    kernel = np.broadcast_to(_tent(cell), (config.orientations, 1, 2 * cell, 2 * cell))
    before, after = cell // 2, cell - cell // 2
    cells = graph.add(
        "Conv",
        maps,
        graph.constant(kernel),
        group=config.orientations,
        strides=[cell, cell],
        pads=[before, before, after, after],
    )
    return graph.add("Transpose", cells, perm=[0, 2, 3, 1])


def _tent(cell: int) -> NDArray[np.float32]:
    """Weights that fall linearly from a cell's centre to its neighbours' centres."""
    pixels = np.arange(2 * cell) + 0.5
    line = np.minimum(pixels, 2 * cell - pixels) / cell
    return np.asarray(np.outer(line, line) / cell**2, dtype=np.float32)


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
