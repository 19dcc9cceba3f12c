"""Dense SURF: sums of Haar responses in 4x4 parts of windows on a grid, at several scales."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Preprocessing
from clearsight.learn.descriptors import Kind, _grid
from clearsight.learn.descriptors._contrast import normalised
from clearsight.learn.onnx_graph import GraphBuilder

WINDOW_SIGMA = 0.66
"""Standard deviation of the window in parts (Bay 2008, section 4.2: 3.3 scales of 5 a part)."""
SMALL_STEP, LARGE_STEP = 2, 4
SMALL_UP_TO = 48


class Surf:
    """sum dx, sum dy, sum |dx|, sum |dy| in each of 4x4 parts: 64 numbers a window, upright.

    dx and dy are responses to Haar wavelets of twice the scale, at samples one scale apart,
    weighted by a Gaussian on the window. With 5x5 samples a part a window has 20 scales a side.

    Source: Bay, Ess, Tuytelaars and Van Gool 2008, "Speeded-Up Robust Features", section 4
    (U-SURF, the upright version).
    """

    class Config(BaseConfig):
        """Options of the descriptor.

        Args:
            scales: pixels between samples, one a size of window.
            samples: of a part along each axis (the paper has 5; 3 validated better).
            step: pixels between windows; None takes 2 up to 48 pixels, else 4.
        """

        scales: tuple[int, ...] = Field(default=(1, 2), min_length=1)
        samples: int = Field(default=3, ge=1, le=16)
        step: int | None = Field(default=None, ge=1, le=64)

    kind: ClassVar[Kind] = "local"

    def __init__(self, config: Surf.Config) -> None:
        self.config = config

    def length(self, size: Preprocessing) -> int:
        """Return 64."""
        return 4 * _grid.PARTS**2

    def points(self, size: Preprocessing) -> NDArray[np.float32]:
        """Return the windows' centres."""
        return _grid.positions(self.windows(size), size)

    def windows(self, size: Preprocessing) -> list[_grid.Windows]:
        """Return where the windows are, in pixels."""
        small = max(size.height, size.width) <= SMALL_UP_TO
        scales = self.config.scales
        step = self.config.step or (SMALL_STEP if small else LARGE_STEP)
        return _grid.windows(size, [self.config.samples * scale for scale in scales], step)

    def graph(self, graph: GraphBuilder, images: str, size: Preprocessing) -> str:
        """Add the nodes; a flat window gives zeros, any other a vector of length 1."""
        turned = graph.add("Transpose", _grid.luma(graph, images, size), perm=[0, 1, 3, 2])
        found = []
        samples = self.config.samples
        for one in self.windows(size):
            maps = _responses(graph, turned, size, max(1, round(one.part / samples)))
            rows = _weights(size.height, one.rows, one.part, samples)
            columns = _weights(size.width, one.columns, one.part, samples)
            found.append(_grid.pooled(graph, maps, 4, one, rows, columns))
        return normalised(graph, graph.add("Concat", *found, axis=1), clip=None)


def _responses(graph: GraphBuilder, turned: str, size: Preprocessing, scale: int) -> str:
    """dx, dy, |dx|, |dy| in grey levels a pixel (n, 4, height, width).

    Row and column j are of the wavelet between pixels j - 1 and j.

    Args:
        turned: tensor (n, 1, width, height).
        scale: half of the wavelets' side.
    """
    offsets = np.arange(-scale, scale)
    mean = np.full(2 * scale, 1 / (2 * scale))
    step = np.where(offsets < 0, -1.0, 1.0) / scale**2
    box, haar = (
        [_grid.band(n, offsets, weights) for n in (size.height, size.width)]
        for weights in (mean, step)
    )
    across = _grid.along_both(graph, turned, haar[1], box[0])
    down = _grid.along_both(graph, turned, box[1], haar[0])
    signed = graph.add("Concat", across, down, axis=1)
    return graph.add("Concat", signed, graph.add("Abs", signed), axis=1)


def _weights(
    pixels: int, centres: NDArray[np.float64], part: float, samples: int
) -> NDArray[np.float64]:
    """Return (4 * centres, pixels): the weights of each part's samples.

    A sample between two responses takes from both by distance.
    """
    every = (np.arange(_grid.PARTS * samples) + 0.5) / samples - _grid.PARTS / 2  # in parts
    window = np.exp(-((every / WINDOW_SIGMA) ** 2) / 2) / samples
    weights = np.tile(window, len(centres))
    at = (centres[:, None] + part * every + 0.5).ravel()
    before = np.floor(at).astype(np.int64)
    matrix = np.zeros((len(centres) * _grid.PARTS, pixels))
    rows = np.arange(len(matrix)).repeat(samples)
    for place, share in ((before, 1 - (at - before)), (before + 1, at - before)):
        np.add.at(matrix, (rows, np.clip(place, 0, pixels - 1)), weights * share)
    return matrix
