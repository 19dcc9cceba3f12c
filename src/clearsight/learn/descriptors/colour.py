"""Colour statistics: means, deviations and a joint histogram, of the picture and its quarters."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Preprocessing
from clearsight.learn.descriptors import Kind
from clearsight.learn.onnx_graph import GraphBuilder

LARGEST_SIDE = 48
"""Larger pictures are averaged down to at most so many pixels a side: colour needs no more."""
OPPONENT = (
    (1 / 2, -1 / 2, 0.0),
    (1 / 4, 1 / 4, -1 / 2),
    (1 / 3, 1 / 3, 1 / 3),
)
"""Red against green, yellow against blue (both in [-1/2, 1/2]), and brightness in [0, 1]."""
CHROMA_REACH = 0.5
COLOUR_BINS, GREY_BINS = 5, 16


class Colour:
    """Mean and deviation of each channel, and square roots of a joint histogram, for each region.

    Channels are opponent colours: red against green, yellow against blue, brightness. Grey
    pictures have brightness alone. Shares of a pixel fall linearly with the distance to a bin.

    Source: Swain and Ballard 1991, "Color Indexing" (histograms on opponent axes); van de Sande,
    Gevers and Snoek 2010 (opponent colours for recognition).
    """

    class Config(BaseConfig):
        """Options of the descriptor.

        Args:
            bins: of each channel's histogram (the joint one has their product); None takes 5 for
                colour, 16 for grey.
            levels: of the spatial pyramid: 1 is the whole picture, 2 its quarters.
        """

        bins: int | None = Field(default=None, ge=2, le=64)
        levels: tuple[int, ...] = Field(default=(1, 2), min_length=1)

    kind: ClassVar[Kind] = "global"

    def __init__(self, config: Colour.Config) -> None:
        self.config = config

    def length(self, size: Preprocessing) -> int:
        """Return what a region has times the regions."""
        regions = sum(level**2 for level in self.config.levels)
        bins = self._bins(size.channels)
        return int(regions * (bins**size.channels + 2 * size.channels))

    def points(self, size: Preprocessing) -> NDArray[np.float32]:
        """Return the centre."""
        return np.full((1, 2), 0.5, np.float32)

    def graph(self, graph: GraphBuilder, images: str, size: Preprocessing) -> str:
        """Add the nodes; statistics are in parts of the full range."""
        pixels, height, width = _small(graph, images, size)
        found = []
        for level in self.config.levels:
            region = _regions(graph, pixels, (height, width, size.channels), level)
            found += [self._statistics(graph, one, size.channels) for one in region]
        return graph.add("Concat", *found, axis=1)

    def _statistics(self, graph: GraphBuilder, pixels: str, channels: int) -> str:
        """What one region has (n, numbers) of its pixels (n, pixels, channels) in [0, 1]."""
        over = graph.constant([1], np.int64)
        mean = graph.add("ReduceMean", pixels, axes=[1], keepdims=1)
        apart = graph.add("Sub", pixels, mean)
        variance = graph.add("ReduceMean", graph.add("Mul", apart, apart), axes=[1], keepdims=0)
        deviation = graph.add("Sqrt", graph.add("Add", variance, graph.constant(1e-6)))
        histogram = graph.add("Sqrt", self._histogram(graph, pixels, channels))
        return graph.add("Concat", graph.add("Squeeze", mean, over), deviation, histogram, axis=1)

    def _histogram(self, graph: GraphBuilder, pixels: str, channels: int) -> str:
        """Joint shares (n, bins^channels), which sum to 1."""
        bins = self._bins(channels)
        at = graph.constant(np.arange(bins, dtype=np.float32))
        place = graph.add("Mul", pixels, graph.constant(bins - 1))
        shares = []
        for channel in range(channels):
            ends = [graph.constant([value], np.int64) for value in (channel, channel + 1, 2)]
            away = graph.add("Abs", graph.add("Sub", graph.add("Slice", place, *ends), at))
            shares.append(graph.add("Relu", graph.add("Sub", graph.constant(1), away)))
        if channels == 1:
            return graph.add("ReduceMean", shares[0], axes=[1], keepdims=0)
        left = graph.add("Unsqueeze", shares[0], graph.constant([3], np.int64))
        right = graph.add("Unsqueeze", shares[1], graph.constant([2], np.int64))
        pair_shape = graph.constant([0, 0, bins * bins], np.int64)
        pairs = graph.add("Reshape", graph.add("Mul", left, right), pair_shape)
        counts = graph.add("MatMul", graph.add("Transpose", pairs, perm=[0, 2, 1]), shares[2])
        total = graph.add("ReduceSum", counts, graph.constant([1, 2], np.int64), keepdims=1)
        return graph.add("Flatten", graph.add("Div", counts, total), axis=1)

    def _bins(self, channels: int) -> int:
        return self.config.bins or (GREY_BINS if channels == 1 else COLOUR_BINS)


def _small(graph: GraphBuilder, images: str, size: Preprocessing) -> tuple[str, int, int]:
    """Return (n, height, width, channels) in [0, 1] of an averaged picture, and its size."""
    floats = graph.add("Cast", images, to=1)
    height, width = size.height, size.width
    factor = max(1, -(-max(height, width) // LARGEST_SIDE))
    if factor > 1:
        planes = graph.add("Transpose", floats, perm=[0, 3, 1, 2])
        kernel = [min(factor, height), min(factor, width)]
        planes = graph.add("AveragePool", planes, kernel_shape=kernel, strides=kernel)
        floats = graph.add("Transpose", planes, perm=[0, 2, 3, 1])
        height, width = height // kernel[0], width // kernel[1]
    if size.channels == 1:
        return graph.add("Mul", floats, graph.constant(1 / 255)), height, width
    turn = graph.constant(np.array(OPPONENT).T / 255)
    offset = graph.constant([CHROMA_REACH, CHROMA_REACH, 0])
    return graph.add("Add", graph.add("MatMul", floats, turn), offset), height, width


def _regions(
    graph: GraphBuilder, pixels: str, shape: tuple[int, int, int], level: int
) -> list[str]:
    """Cut into level x level regions, each (n, pixels, channels)."""
    height, width, channels = shape
    flat = graph.constant([0, -1, channels], np.int64)
    axes = graph.constant([1, 2], np.int64)
    found = []
    rows, columns = (np.linspace(0, n, level + 1).astype(int) for n in (height, width))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            begin, end = ([int(a), int(b)] for a, b in ((top, left), (bottom, right)))
            corners = graph.constant(begin, np.int64), graph.constant(end, np.int64)
            found.append(graph.add("Reshape", graph.add("Slice", pixels, *corners, axes), flat))
    return found
