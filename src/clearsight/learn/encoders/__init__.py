"""Encoders: many local descriptors to one vector a picture; a file added here is one added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.registry import Registry
from clearsight.learn.onnx_graph import GraphBuilder

ENCODERS = Registry("clearsight.learn.encoders", "encoder", extra="classical")

Vectors = NDArray[np.float32]
Points = NDArray[np.float32]
Learnt = Mapping[str, NDArray[np.float32]]


class Encoder(Protocol):
    """What a file in this folder defines; constructed with its configuration."""

    Config: ClassVar[type[Config]]
    config: Any

    def __init__(self, config: Any) -> None:
        """Take the encoder's own options."""

    def learn(self, vectors: Vectors, seed: int, deadline: float | None) -> Learnt:
        """Return what encoding needs, learnt from descriptors of training pictures.

        Args:
            vectors: (m, d) float32; flat regions give vectors of zeros.
            seed: the only source of randomness.
            deadline: `time.monotonic()` value to return by, or None.
        """

    def length(self, learnt: Learnt) -> int:
        """Return the numbers in one encoded vector."""

    def graph(self, graph: GraphBuilder, vectors: str, points: Points, learnt: Learnt) -> str:
        """Add the nodes that encode.

        Args:
            graph: what to add to; standard operators that work in every engine.
            vectors: tensor (n, points, d) float32.
            points: (points, 2) y and x of the vectors as parts of height and width.
            learnt: what `learn` returned.

        Returns:
            The tensor (n, length) float32.
        """
