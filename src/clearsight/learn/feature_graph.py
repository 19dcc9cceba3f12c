"""One ONNX graph from pixels to the "embedding" of a classical recognizer, block after block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from clearsight.core.nouns import Preprocessing
from clearsight.learn.descriptors import Descriptor
from clearsight.learn.encoders import Encoder, Learnt
from clearsight.learn.onnx_graph import EMBEDDING, GraphBuilder

IMAGES = "images"


@dataclass(frozen=True)
class Block:
    """A descriptor, and for a local one the encoder with what it has learnt.

    Args:
        key: of the descriptor.
        descriptor: what is computed.
        encoder: makes one vector a picture of a local descriptor's many.
        learnt: the encoder's arrays.
    """

    key: str
    descriptor: Descriptor
    encoder: Encoder | None = None
    learnt: Learnt = field(default_factory=dict)

    def length(self, size: Preprocessing) -> int:
        """Return the numbers that this block adds to the embedding."""
        if self.encoder is None:
            return self.descriptor.length(size)
        return self.encoder.length(self.learnt)


def embedding_model(blocks: Sequence[Block], size: Preprocessing) -> bytes:
    """Return ONNX: uint8 NHWC "images" -> "embedding" (n, d) float32, the blocks side by side."""
    graph = GraphBuilder()
    parts = []
    for block in blocks:
        tensor = block.descriptor.graph(graph, IMAGES, size)
        if block.encoder is not None:
            points = block.descriptor.points(size)
            tensor = block.encoder.graph(graph, tensor, points, block.learnt)
        parts.append(tensor)
    graph.add("Concat", *parts, axis=1, output=EMBEDDING)
    length = sum(block.length(size) for block in blocks)
    return graph.build(size.height, size.width, size.channels, {EMBEDDING: [length]})


def points_model(descriptor: Descriptor, size: Preprocessing) -> bytes:
    """Return ONNX: uint8 NHWC "images" -> "embedding" (n, points * length), point after point."""
    graph = GraphBuilder()
    graph.add("Flatten", descriptor.graph(graph, IMAGES, size), axis=1, output=EMBEDDING)
    length = len(descriptor.points(size)) * descriptor.length(size)
    return graph.build(size.height, size.width, size.channels, {EMBEDDING: [length]})
