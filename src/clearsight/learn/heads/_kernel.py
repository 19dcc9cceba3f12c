"""The Gaussian kernel between features and landmarks, in numpy and in plain ONNX."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clearsight.core.seeds import generator
from clearsight.learn import linear
from clearsight.learn.heads import Features
from clearsight.learn.heads._graph import HeadGraph

Floats = NDArray[np.float32]
FARTHEST = 1e15
"""Scaled features are kept within it: its square still is a float32."""
PAIRS = 2000
BLOCK_BYTES = 4 * 1024 * 1024
TIMED = 256
SOLVING = 4
"""What the solver costs, in kernels: it reads the kernel about a hundred times."""


@dataclass(frozen=True)
class Gaussian:
    """exp(-|z - l|^2) with z = (x - offset) * factor; the width stands in the factor.

    Args:
        offset, factor: (d,) float32.
        landmarks: (k, d) float32, scaled.
    """

    offset: Floats
    factor: Floats
    landmarks: Floats

    @classmethod
    def scaled(cls, features: Features, scaling: str) -> Gaussian:
        """Return a kernel without landmarks; "columns" gives each column deviation 1."""
        measured = linear.Scaling.measure(features)
        factor = measured.factor
        if scaling == "whole":
            deviation = np.divide(1, factor, out=np.zeros_like(factor), where=factor > 0)
            size = float(np.sqrt(np.mean(np.square(deviation, dtype=np.float64))))
            factor = np.full_like(factor, 1 / size if size > 0 else 1)
        return cls(measured.offset, factor, np.zeros((0, len(factor)), np.float32))

    def narrowed(self, factor: float) -> Gaussian:
        """Return the kernel with squared distances `factor` times as large."""
        return replace(self, factor=self.factor * np.float32(np.sqrt(factor)))

    def placed(self, features: Features) -> Gaussian:
        """Return the kernel with these rows as landmarks."""
        return replace(self, landmarks=self.inner(np.asarray(features)))

    def inner(self, features: Features) -> Floats:
        """Return scaled features."""
        with np.errstate(over="ignore"):
            scaled = (features - self.offset) * self.factor
        clipped: Floats = np.clip(scaled, -FARTHEST, FARTHEST, out=scaled)
        return clipped

    def columns(self, features: Features) -> Floats:
        """Return (n, k): the kernel between rows and landmarks."""
        result = np.empty((len(features), len(self.landmarks)), np.float32)
        step = max(1, BLOCK_BYTES // (4 * max(features.shape[1], len(self.landmarks), 1)))

        def part(begin: int) -> None:
            rows = slice(begin, begin + step)
            result[rows] = self.between(self.inner(features[rows]))

        with linear.workers() as pool:
            list(pool.map(part, range(0, len(features), step)))
        return result

    def between(self, inner: Floats) -> Floats:
        """Return the kernel between scaled rows and the landmarks."""
        products: Floats = inner @ self.landmarks.T
        products *= 2
        products -= np.square(self.landmarks).sum(axis=1)
        products -= np.square(inner).sum(axis=1)[:, None]
        np.minimum(products, 0, out=products)
        np.exp(products, out=products)
        return products

    def append(self, graph: HeadGraph) -> str:
        """Add the kernel to a graph; return the tensor (n, k)."""
        centred = graph.add("Sub", graph.embedding, graph.constant(self.offset))
        scaled = graph.add("Mul", centred, graph.constant(self.factor))
        limits = graph.constant(-FARTHEST), graph.constant(FARTHEST)
        inner = graph.add("Clip", scaled, *limits)
        squares = graph.add("Mul", inner, inner)
        own = graph.add("ReduceSum", squares, graph.constant([1], np.int64), keepdims=1)
        landmarks = graph.constant((2 * self.landmarks).T)
        lengths = graph.constant(-np.square(self.landmarks).sum(axis=1))
        products = graph.add("Sub", graph.add("Gemm", inner, landmarks, lengths), own)
        return graph.add("Exp", graph.add("Min", products, graph.constant(0)))


def median_distance(kernel: Gaussian, features: Features, seed: int) -> float:
    """Return the median squared distance of two scaled rows; 1 when most are equal."""
    pairs = generator(seed, "pairs").integers(0, len(features), (2, min(PAIRS, 4 * len(features))))
    pairs = pairs[:, pairs[0] != pairs[1]]
    total = 0.0
    if pairs.size:
        rows, at = np.unique(pairs, return_inverse=True)
        inner = kernel.inner(np.asarray(features[rows]))
        one, other = at.reshape(pairs.shape)
        difference = inner[one] - inner[other]
        total = float(np.median(np.einsum("ij,ij->i", difference, difference)))
    return total if total > 0 else 1.0


@dataclass(frozen=True)
class Pace:
    """How long a kernel takes here, and until when there is time.

    Args:
        seconds: for one row and one landmark, solving included.
        deadline: `time.monotonic()` value, or None.
    """

    seconds: float
    deadline: float | None

    @classmethod
    def measure(cls, features: Features, deadline: float | None) -> Pace:
        """Time a small kernel; nothing is measured without a deadline."""
        if deadline is None:
            return cls(0.0, None)
        few = np.asarray(features[:TIMED])
        kernel = Gaussian.scaled(few, "whole").placed(few)
        began = time.monotonic()
        kernel.columns(few)
        return cls((1 + SOLVING) * (time.monotonic() - began) / len(few) ** 2, deadline)

    def until(self, share: float) -> float | None:
        """Return when a share of the time that is left will be over."""
        if self.deadline is None:
            return None
        now = time.monotonic()
        return now + share * (self.deadline - now)

    def products(self, share: float) -> int:
        """Return how many pairs of row and landmark fit a share of the time that is left."""
        if self.deadline is None:
            return 2**62
        return int(max(0.0, share * (self.deadline - time.monotonic())) / self.seconds)

    def rows(self, share: float) -> int:
        """Return how many rows, with a quarter as many landmarks, fit a share of the time."""
        return max(TIMED, int((4 * self.products(share)) ** 0.5))
