"""VLAD: how descriptors differ from the words of a small codebook that they belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.encoders import Learnt, Points, Vectors
from clearsight.learn.encoders._kmeans import kmeans
from clearsight.learn.encoders._pooling import (
    Assignment,
    assigned,
    region_count,
    regions,
    unit,
    weighted_regions,
)
from clearsight.learn.onnx_graph import GraphBuilder


class Vlad:
    """Sums of differences to each word, signed square roots, length 1 for the picture.

    Descriptors are first brought to fewer numbers by principal components.

    Source: Jegou et al. 2012, "Aggregating Local Image Descriptors into Compact Codes".
    """

    class Config(BaseConfig):
        """Options of the encoder.

        Args:
            words: size of the codebook.
            components: principal components kept of a descriptor, at most its own length.
            assignment: "soft" shares a descriptor among the words near it, "hard" does not.
            softness: how far a soft share reaches, in mean squared distances to the nearest word.
            levels: of the spatial pyramid: 1 is the whole picture, 2 its quarters.
        """

        words: int = Field(default=16, ge=2, le=1024)
        components: int = Field(default=32, ge=1, le=1024)
        assignment: Assignment = "soft"
        softness: float = Field(default=0.4, gt=0)
        levels: tuple[int, ...] = Field(default=(1, 2), min_length=1)

    def __init__(self, config: Vlad.Config) -> None:
        self.config = config

    def learn(self, vectors: Vectors, seed: int, deadline: float | None) -> Learnt:
        """Return principal axes, the words (k-means) and the bandwidth of soft shares."""
        mean, axes = _principal_axes(vectors, self.config.components)
        short = np.asarray((vectors - mean) @ axes, dtype=np.float32)
        words, spread = kmeans(short, self.config.words, seed, deadline)
        bandwidth = max(self.config.softness * spread, 1e-6)
        return {
            "mean": mean,
            "axes": axes,
            "words": words,
            "bandwidth": np.array([bandwidth], np.float32),
        }

    def length(self, learnt: Learnt) -> int:
        """Return the words times their numbers times the regions."""
        return learnt["words"].size * region_count(self.config.levels)

    def graph(self, graph: GraphBuilder, vectors: str, points: Points, learnt: Learnt) -> str:
        """Add the nodes; flat windows count for nothing."""
        words, axes = learnt["words"], learnt["axes"]
        offset = graph.constant(-learnt["mean"] @ axes)
        short = graph.add("Add", graph.add("MatMul", vectors, graph.constant(axes)), offset)
        shares = assigned(graph, short, learnt, self.config.assignment)
        inside = regions(points, self.config.levels)
        weights = weighted_regions(graph, vectors, inside)
        (count, many), k = inside.shape, len(words)
        by_word = graph.add(  # (n, regions, words, points)
            "Mul",
            graph.add("Reshape", weights, graph.constant([0, count, 1, many], np.int64)),
            graph.add(
                "Reshape",
                graph.add("Transpose", shares, perm=[0, 2, 1]),
                graph.constant([0, 1, k, many], np.int64),
            ),
        )
        rows = graph.add("Reshape", by_word, graph.constant([0, count * k, many], np.int64))
        mass = graph.add("ReduceSum", rows, graph.constant([2], np.int64), keepdims=1)
        held = graph.add("Mul", mass, graph.constant(np.tile(words, (count, 1))))
        sums = graph.add("Sub", graph.add("MatMul", rows, short), held)
        flat = graph.add("Flatten", sums, axis=1)
        root = graph.add("Mul", graph.add("Sign", flat), graph.add("Sqrt", graph.add("Abs", flat)))
        return unit(graph, root, axis=1)


def _principal_axes(
    vectors: Vectors, components: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean (d,) and the axes (d, components) of largest variance, signs fixed."""
    from threadpoolctl import threadpool_limits

    mean = vectors.mean(axis=0, dtype=np.float64)
    with threadpool_limits(1, "blas"):
        centred = vectors - mean
        _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :components]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return mean.astype(np.float32), np.ascontiguousarray(axes, dtype=np.float32)
