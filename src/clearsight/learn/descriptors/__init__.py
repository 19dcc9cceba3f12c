"""Descriptors: pixels to numbers without learning; a file added here is a descriptor added."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.nouns import Preprocessing
from clearsight.core.registry import Registry
from clearsight.learn.onnx_graph import GraphBuilder

DESCRIPTORS = Registry("clearsight.learn.descriptors", "descriptor", extra="classical")

Kind = Literal["global", "local"]


class Descriptor(Protocol):
    """What a file in this folder defines; constructed with its configuration.

    A "global" descriptor gives one vector a picture. A "local" one gives a vector at each of many
    points, the same points in every picture of one size; an encoder makes one vector of them.
    """

    Config: ClassVar[type[Config]]
    kind: ClassVar[Kind]
    config: Any

    def __init__(self, config: Any) -> None:
        """Take the descriptor's own options."""

    def length(self, size: Preprocessing) -> int:
        """Return the numbers in one vector."""

    def points(self, size: Preprocessing) -> NDArray[np.float32]:
        """Return where the vectors are taken: (points, 2) y and x as parts of height and width.

        A global descriptor returns one point, the centre.
        """

    def graph(self, graph: GraphBuilder, images: str, size: Preprocessing) -> str:
        """Add the nodes that compute it.

        Args:
            graph: what to add to; standard operators that work in every engine.
            images: tensor (n, height, width, channels) uint8.
            size: of these pictures.

        Returns:
            The tensor (n, length) float32 of a global, (n, points, length) of a local descriptor.
        """
