"""Histograms of oriented gradients as an ONNX graph, so that training and serving compute the same.

Source: Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.learn.onnx_graph import EMBEDDING, GraphBuilder

CLIP = 0.2
EPSILON = 1e-5


@dataclass(frozen=True)
class HogShape:
    """What descriptor to compute.

    Args:
        height, width: of the picture in pixels; at least two cells each.
        channels: 1 or 3; with 3 a pixel's gradient is that of the strongest channel.
        cell: side of a cell in pixels; a block is 2x2 cells and blocks overlap by one cell.
        orientations: bins of the gradient's direction.
        signed: directions over 360 degrees instead of 180.
        interpolate: share a gradient among the nearest bins and cells (as Dalal and Triggs do)
            instead of giving all of it to one (as scikit-image does).
    """

    height: int
    width: int
    channels: int
    cell: int
    orientations: int
    signed: bool
    interpolate: bool

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks down and across."""
        return self.height // self.cell - 1, self.width // self.cell - 1

    @property
    def length(self) -> int:
        """Numbers in one descriptor."""
        down, across = self.blocks
        return down * across * 4 * self.orientations


def hog_model(shape: HogShape) -> bytes:
    """Return ONNX: uint8 NHWC "images" -> "embedding" (n, shape.length) float32, 0 to 1.

    The descriptor is the square root of L2-Hys normalised blocks (the Hellinger kernel's map),
    ordered block row, block column, cell row, cell column, orientation.
    """
    graph = GraphBuilder()
    across, down = _gradients(graph, shape)
    magnitude = graph.add(
        "Sqrt",
        graph.add("Add", graph.add("Mul", across, across), graph.add("Mul", down, down)),
    )
    if shape.channels > 1:
        strongest = graph.add("ArgMax", magnitude, axis=1, keepdims=1)
        across, down, magnitude = (
            graph.add("GatherElements", maps, strongest, axis=1)
            for maps in (across, down, magnitude)
        )
    position = _bin_position(graph, across, down, shape)
    maps = graph.add("Mul", _bin_shares(graph, position, shape), magnitude)
    blocks = _blocks(graph, _cells(graph, maps, shape), shape)
    limited = graph.add("Min", _unit_length(graph, blocks), graph.constant(CLIP))
    root = graph.add("Sqrt", _unit_length(graph, limited))
    graph.add("Flatten", root, axis=1, output=EMBEDDING)
    return graph.build(shape.height, shape.width, shape.channels, {EMBEDDING: [shape.length]})


def _gradients(graph: GraphBuilder, shape: HogShape) -> tuple[str, str]:
    """Central differences (n, c, h, w), zero along the border they cannot reach."""
    floats = graph.add("Cast", "images", to=1)
    planes = graph.add("Transpose", floats, perm=[0, 3, 1, 2])
    across = np.zeros((shape.channels, 1, 1, 3), np.float32)
    across[..., 0], across[..., 2] = -1, 1
    down = across.transpose(0, 1, 3, 2)
    group = shape.channels
    gx = graph.add("Conv", planes, graph.constant(across), group=group)
    gy = graph.add("Conv", planes, graph.constant(down), group=group)
    return (
        graph.add("Pad", gx, graph.constant([0, 0, 0, 1, 0, 0, 0, 1], np.int64)),
        graph.add("Pad", gy, graph.constant([0, 0, 1, 0, 0, 0, 1, 0], np.int64)),
    )


def _bin_position(graph: GraphBuilder, across: str, down: str, shape: HogShape) -> str:
    """The gradient's direction in units of bins, in [0, orientations]."""
    zero, one = graph.constant(0), graph.constant(1)
    flat = graph.add("Equal", down, zero)
    cotangent = graph.add("Div", across, graph.add("Where", flat, one, down))
    angle = graph.add("Sub", graph.constant(math.pi / 2), graph.add("Atan", cotangent))
    angle = graph.add("Where", flat, zero, angle)
    period = math.pi
    if shape.signed:
        leftwards = graph.add("And", flat, graph.add("Less", across, zero))
        lower = graph.add("Or", graph.add("Less", down, zero), leftwards)
        half_turn = graph.add("Where", lower, graph.constant(math.pi), zero)
        angle, period = graph.add("Add", angle, half_turn), 2 * math.pi
    return graph.add("Mul", angle, graph.constant(shape.orientations / period))


def _bin_shares(graph: GraphBuilder, position: str, shape: HogShape) -> str:
    """How much of each gradient goes to each bin (n, orientations, h, w); sums to one."""
    bins = np.arange(shape.orientations, dtype=np.float32).reshape(1, -1, 1, 1)
    count = shape.orientations
    if not shape.interpolate:
        index = graph.add("Min", graph.add("Floor", position), graph.constant(count - 1))
        return graph.add("Cast", graph.add("Equal", index, graph.constant(bins)), to=1)
    apart = graph.add("Abs", graph.add("Sub", position, graph.constant(bins + 0.5)))
    around = graph.add("Min", apart, graph.add("Sub", graph.constant(count), apart))
    return graph.add("Relu", graph.add("Sub", graph.constant(1), around))


def _cells(graph: GraphBuilder, maps: str, shape: HogShape) -> str:
    """Mean (or distance-weighted mean) of the maps over each cell (n, down, across, bins)."""
    cell = shape.cell
    if not shape.interpolate:
        cells = graph.add("AveragePool", maps, kernel_shape=[cell, cell], strides=[cell, cell])
        return graph.add("Transpose", cells, perm=[0, 2, 3, 1])
    kernel = np.broadcast_to(_tent(cell), (shape.orientations, 1, 2 * cell, 2 * cell))
    before, after = cell // 2, cell - cell // 2
    cells = graph.add(
        "Conv",
        maps,
        graph.constant(kernel),
        group=shape.orientations,
        strides=[cell, cell],
        pads=[before, before, after, after],
    )
    return graph.add("Transpose", cells, perm=[0, 2, 3, 1])


def _tent(cell: int) -> NDArray[np.float32]:
    """Weights that fall linearly from a cell's centre to its neighbours' centres."""
    pixels = np.arange(2 * cell) + 0.5
    line = np.minimum(pixels, 2 * cell - pixels) / cell
    return np.asarray(np.outer(line, line) / cell**2, dtype=np.float32)


def _blocks(graph: GraphBuilder, cells: str, shape: HogShape) -> str:
    """2x2 neighbouring cells side by side (n, down, across, 4 * bins)."""
    down, across = shape.blocks
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
