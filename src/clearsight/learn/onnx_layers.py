"""Finds the layers of a graph that keep a map of the picture, and its attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from clearsight.learn.onnx_in_torch import WEIGHTED, Node, TorchGraph, compute

Layout = Literal["nchw", "nhwc"]
RESHAPING = ("Reshape", "Transpose", "Flatten", "Expand", "Tile", "Squeeze", "Unsqueeze")
RESIZING = (
    "Conv", "MaxPool", "AveragePool", "Resize", "Pad", "Slice", "Split", "Gather", "Concat",
    "MatMul", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool",
)  # fmt: skip
FEATURES = "features"


@dataclass(frozen=True)
class Layer:
    """A tensor that keeps a map of the picture.

    Args:
        name: of the tensor.
        layout: where its channels are.
        size: (height, width).
    """

    name: str
    layout: Layout
    size: tuple[int, int]


@dataclass
class _Look:
    """What is known while one picture runs through the graph."""

    layouts: dict[str, Layout] = field(default_factory=dict)
    flipped: set[str] = field(default_factory=set)
    layers: list[Layer] = field(default_factory=list)
    attentions: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    weighted: bool = False


def find_layers(graph: TorchGraph, pixels: Tensor) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Return the layers that keep a map, deepest first, and the names of the attentions.

    One layer a size: the last tensor that still has it. Layouts are followed from the picture on:
    a convolution, pooling, sum or activation keeps one, a transposition moves it, a reshape ends
    it. Left out are views of the mirrored picture, what comes before the first weights, and, where
    there is attention, what comes before it: there the picture is not understood yet.

    Args:
        graph: of the recognizer.
        pixels: (1, h, w, c) float32, one picture.

    Returns:
        Layers, and names of tensors (n, heads, tokens, tokens) of whole-picture attention.
    """
    look = _Look(layouts={graph.pictures: "nhwc"})

    def watch(node: Node, reads: list[Any]) -> tuple[Any, ...]:
        found = compute(node, reads)
        _follow(look, node, reads, found[0])
        return found

    with torch.no_grad():
        graph.run(pixels, (), apply=watch)
    last: dict[tuple[int, int], Layer] = {}
    for layer in look.layers:
        last.pop(layer.size, None)
        last[layer.size] = layer
    tokens = {shape[-1] for _, shape in look.attentions}
    whole = len(tokens) == 1 and all(shape[0] == 1 for _, shape in look.attentions)
    names = tuple(name for name, _ in look.attentions) if whole else ()
    return tuple(reversed(last.values())), names


def _follow(look: _Look, node: Node, reads: list[Any], value: Any) -> None:
    """Note what one node gives."""
    name = node.gives[0]
    if look.flipped.intersection(node.reads) or _flips(look, node, reads):
        look.flipped.add(name)
    if not isinstance(value, Tensor) or value.ndim != 4 or not value.is_floating_point():
        return
    shape = tuple(value.shape)
    if node.operator == "Softmax" and shape[2] == shape[3] and _of_rows(node):
        look.attentions.append((name, shape))
        look.layers.clear()
        return
    look.weighted = look.weighted or node.operator in WEIGHTED
    layout = _layout(look, node, reads, value)
    if layout is None and name == FEATURES:
        layout = "nhwc" if shape[1] == shape[2] != shape[3] else "nchw"
    if layout is None:
        return
    look.layouts[name] = layout
    size = (shape[2], shape[3]) if layout == "nchw" else (shape[1], shape[2])
    plain = name not in look.flipped and node.operator not in ("Pad", "Slice", "Split")
    if look.weighted and plain and min(size) >= 2 and shape[0] == 1:
        look.layers.append(Layer(name, layout, size))


def _layout(look: _Look, node: Node, reads: list[Any], value: Tensor) -> Layout | None:
    known = [(n, r) for n, r in zip(node.reads, reads, strict=True) if n in look.layouts]
    if node.operator == "Transpose":
        moves: dict[tuple[Layout, tuple[int, ...]], Layout] = {
            ("nhwc", (0, 3, 1, 2)): "nchw",
            ("nchw", (0, 2, 3, 1)): "nhwc",
        }
        perm = tuple(node.attributes.get("perm", ()))
        return moves.get((look.layouts[known[0][0]], perm)) if known else None
    if not known or node.operator in RESHAPING:
        return None
    for name, read in known:
        if node.operator in RESIZING or read.shape == value.shape:
            return look.layouts[name]
    return None


def _flips(look: _Look, node: Node, reads: list[Any]) -> bool:
    """Whether a node mirrors the picture: steps of -1 along its height or width."""
    layout = look.layouts.get(node.reads[0]) if node.reads else None
    if node.operator != "Slice" or layout is None or len(reads) < 5 or reads[3] is None:
        return False
    spatial = (2, 3) if layout == "nchw" else (1, 2)
    axes = [int(axis) % 4 for axis in reads[3].tolist()]
    steps = [int(step) for step in reads[4].tolist()]
    return any(a in spatial and s < 0 for a, s in zip(axes, steps, strict=True))


def _of_rows(node: Node) -> bool:
    return node.attributes.get("axis", -1) in (-1, 3)
