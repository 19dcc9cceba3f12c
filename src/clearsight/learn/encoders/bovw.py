"""Bag of visual words: how much of a picture falls to each word of a codebook."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.encoders import Learnt, Points, Vectors
from clearsight.learn.encoders._kmeans import kmeans
from clearsight.learn.encoders._pooling import (
    Assignment,
    assigned,
    region_count,
    regions,
    weighted_regions,
)
from clearsight.learn.onnx_graph import GraphBuilder

EMPTY = 1e-3
"""Added to a region's content, so that an empty region gives zeros."""


class Bovw:
    """Square roots of each region's shares of words; every region has length 1.

    Source: Csurka et al. 2004, "Visual Categorization with Bags of Keypoints"; Perronnin,
    Sanchez and Liu 2010 (the square root).
    """

    class Config(BaseConfig):
        """Options of the encoder.

        Args:
            words: size of the codebook.
            assignment: "soft" shares a descriptor among the words near it, "hard" does not.
            softness: how far a soft share reaches, in mean squared distances to the nearest word.
            levels: of the spatial pyramid: 1 is the whole picture, 2 its quarters.
        """

        words: int = Field(default=256, ge=2, le=8192)
        assignment: Assignment = "soft"
        softness: float = Field(default=0.4, gt=0)
        levels: tuple[int, ...] = Field(default=(1, 2), min_length=1)

    def __init__(self, config: Bovw.Config) -> None:
        self.config = config

    def learn(self, vectors: Vectors, seed: int, deadline: float | None) -> Learnt:
        """Return the words (k-means) and the bandwidth of soft shares."""
        words, spread = kmeans(vectors, self.config.words, seed, deadline)
        bandwidth = max(self.config.softness * spread, 1e-6)
        return {"words": words, "bandwidth": np.array([bandwidth], np.float32)}

    def length(self, learnt: Learnt) -> int:
        """Return the words times the regions."""
        return len(learnt["words"]) * region_count(self.config.levels)

    def graph(self, graph: GraphBuilder, vectors: str, points: Points, learnt: Learnt) -> str:
        """Add the nodes; flat windows count for nothing."""
        shares = assigned(graph, vectors, learnt, self.config.assignment)
        inside = weighted_regions(graph, vectors, regions(points, self.config.levels))
        counts = graph.add("MatMul", inside, shares)
        total = graph.add("ReduceSum", counts, graph.constant([2], np.int64), keepdims=1)
        parts = graph.add("Div", counts, graph.add("Add", total, graph.constant(EMPTY)))
        return graph.add("Flatten", graph.add("Sqrt", parts), axis=1)
