"""Runs an ONNX graph in torch, so that gradients flow through exactly what is deployed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from onnx import AttributeProto, load_from_string, numpy_helper
from torch import Tensor

from clearsight.core.errors import BundleError, UsageError
from clearsight.core.seeds import derive_seed
from clearsight.learn.onnx_operators import OPERATORS

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Node:
    """One operator of a graph.

    Args:
        operator: its ONNX name.
        reads, gives: names of tensors; "" for an optional one that is left out.
        attributes: by name; `version` is the operator set's, `outputs` how many it gives.
    """

    operator: str
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    attributes: Mapping[str, Any]


Apply = Callable[[Node, list[Any]], tuple[Any, ...]]


@dataclass(frozen=True)
class TorchGraph:
    """A graph that takes pictures (n, h, w, c) float32 and gives its outputs as tensors.

    Args:
        pictures: name of the input.
        nodes: those that the logits need, each after what it reads.
        constants: tensors by name.
        outputs: names of everything that the model can give.
    """

    pictures: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    _last: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Note where each tensor is read for the last time."""
        last = {name: at for at, node in enumerate(self.nodes) for name in node.reads}
        object.__setattr__(self, "_last", last)

    def run(
        self,
        pixels: Tensor,
        wanted: Sequence[str],
        leaf: str | None = None,
        apply: Apply | None = None,
    ) -> dict[str, Tensor]:
        """Run the graph.

        Args:
            pixels: (n, h, w, c) float32 in [0, 255].
            wanted: names of the tensors to return.
            leaf: a tensor at which gradients shall end; it is wanted too.
            apply: what computes a node; None takes the operator itself.

        Returns:
            The tensors by name.

        Raises:
            UsageError: an operator is used in a way that is not known here.
        """
        keep, apply = {*wanted, leaf}, apply or compute
        held: dict[str, Any] = {self.pictures: pixels}
        for at, node in enumerate(self.nodes):
            reads = [self._value(name, held) for name in node.reads]
            for name, value in zip(node.gives, apply(node, reads), strict=False):
                held[name] = value.detach().requires_grad_() if name == leaf else value
            for name in node.reads:
                if self._last[name] == at and name not in keep:
                    held.pop(name, None)
        return {name: held[name] for name in keep if name is not None}

    def redrawn(self, seed: int, pixels: Tensor) -> TorchGraph:
        """Return the same graph with every matrix and kernel drawn anew from a normal distribution.

        Each is scaled, and its bias moved, so that its outputs keep the mean and spread that they
        have on a few pictures: a random network that is neither dead nor saturated.

        Args:
            seed: decides the draw.
            pixels: (n, h, w, c) float32, a few pictures.

        Source:
            All you need is a good init: Mishkin, Matas (2016), section 3.
        """
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        fresh: dict[str, Tensor] = {}

        def note(node: Node, reads: list[Any]) -> tuple[Any, ...]:
            found = compute(node, reads)
            if self._weights_of(node):
                seen[node.gives[0]] = _spread(node, found[0])
            return found

        def renew(node: Node, reads: list[Any]) -> tuple[Any, ...]:
            names = self._weights_of(node)
            if not names:
                return compute(node, reads)
            if names[0] not in fresh:
                self._draw(node, reads, seen[node.gives[0]], seed, fresh)
            given = [fresh.get(n, r) for n, r in zip(node.reads, reads, strict=True)]
            return compute(node, given)

        with torch.no_grad():
            self.run(pixels, (), apply=note)
            self.run(pixels, (), apply=renew)
        return TorchGraph(self.pictures, self.nodes, {**self.constants, **fresh}, self.outputs)

    def _draw(
        self,
        node: Node,
        reads: list[Any],
        wanted: tuple[Tensor, Tensor],
        seed: int,
        fresh: dict[str, Tensor],
    ) -> None:
        """Draw a node's weights anew and fit their scale and bias to the wanted mean and spread."""
        name, *biases = self._weights_of(node)
        old = self.constants[name]
        random = torch.Generator().manual_seed(derive_seed(seed, name))
        weight = torch.randn(old.shape, generator=random, dtype=old.dtype)
        if old.ndim > 2:
            weight -= weight.mean(tuple(range(1, old.ndim)), keepdim=True)
        at = node.reads.index(name)
        bare = [weight if i == at else r for i, r in enumerate(reads)]
        if biases:
            bare[2] = torch.zeros_like(self.constants[biases[0]])
        mean, spread = _spread(node, compute(node, bare)[0])
        scale = wanted[1] / spread.clamp_min(SMALLEST_SPREAD)
        fresh[name] = weight * scale
        if biases:
            fresh[biases[0]] = (wanted[0] - scale * mean).to(old.dtype)

    def _weights_of(self, node: Node) -> list[str]:
        """Return the names of a node's constant matrix or kernel, and of its constant bias."""
        if node.operator not in WEIGHTED:
            return []
        first = [1] if node.operator.startswith("Conv") else [1, 0]
        found = [node.reads[i] for i in first if self._is_matrix(node.reads[i])][:1]
        bias = node.reads[2] if len(node.reads) > 2 else ""
        fits = found and bias in self.constants and self.constants[bias].ndim == 1
        return [*found, bias] if fits else found

    def _is_matrix(self, name: str) -> bool:
        value = self.constants.get(name)
        return value is not None and value.is_floating_point() and value.ndim >= 2

    def _value(self, name: str, held: Mapping[str, Any]) -> Any:
        if not name:
            return None
        return held[name] if name in held else self.constants[name]


def _spread(node: Node, output: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of every channel and how far values are from it, over all of them."""
    axis = 1 if node.operator.startswith("Conv") else output.ndim - 1
    others = [at for at in range(output.ndim) if at != axis]
    means = output.mean(others, keepdim=True)
    return means.reshape(-1), (output - means).square().mean().sqrt()


def compute(node: Node, reads: list[Any]) -> tuple[Any, ...]:
    """Run one node.

    Raises:
        UsageError: its operator is used in a way that is not known here.
    """
    try:
        found = OPERATORS[node.operator](node.attributes, reads)
    except (NotImplementedError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"No gradients here: the model's operator {node.operator} cannot be followed "
            f"({error}). Methods that need only scores work: occlusion and rise, square."
        ) from error
    return found if isinstance(found, tuple) else (found,)


def read_graph(model: bytes) -> TorchGraph:
    """Return an ONNX model as a graph in torch.

    Args:
        model: the ONNX file, uint8 (n, h, w, c) pictures in, "logits" out.

    Raises:
        UsageError: an operator has no gradient (trees, quantised sums, look-ups).
        BundleError: the bytes are no ONNX model with an output "logits".
    """
    try:
        proto = load_from_string(model)
    except Exception as error:  # protobuf has exception types of its own
        raise BundleError(f"This is no ONNX model: {error}.") from error
    graph = proto.graph
    version = max(
        (o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=17
    )
    constants = {item.name: _tensor(item) for item in graph.initializer}
    pictures = next((item.name for item in graph.input if item.name not in constants), "")
    outputs = tuple(item.name for item in graph.output)
    if "logits" not in outputs or not pictures:
        raise BundleError("The model must take pictures and give 'logits'.")
    nodes: list[Node] = []
    for node in _needed(graph.node, "logits"):
        _place(node, version, constants, nodes)
    return TorchGraph(pictures, tuple(nodes), constants, outputs)


def _place(proto: Any, version: int, constants: dict[str, Tensor], nodes: list[Node]) -> None:
    """Add a node, or what it gives where that never changes."""
    told = {item.name: _attribute(item) for item in proto.attribute}
    if proto.op_type == "Constant":
        value = next(iter(told.values()))
        constants[proto.output[0]] = value if isinstance(value, Tensor) else torch.tensor(value)
        return
    if proto.op_type not in OPERATORS or proto.domain not in ("", "ai.onnx"):
        raise UsageError(
            f"No gradients here: nothing flows back through the model's operator {proto.op_type}. "
            "Methods that need only scores work: occlusion and rise, square."
        )
    attributes = {**told, "version": version, "outputs": len(proto.output)}
    node = Node(proto.op_type, tuple(proto.input), tuple(proto.output), attributes)
    if all(not name or name in constants for name in node.reads):
        found = compute(node, [constants.get(name) for name in node.reads])
        constants.update(zip(node.gives, found, strict=False))
    else:
        nodes.append(node)


def _needed(nodes: Sequence[Any], output: str) -> list[Any]:
    """Return the nodes that one output needs, in their order."""
    names, found = {output}, []
    for node in reversed(nodes):
        if names.intersection(node.output):
            names.update(node.input)
            found.append(node)
    return found[::-1]


def _tensor(item: Any) -> Tensor:
    array = np.array(numpy_helper.to_array(item))
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array)


def _attribute(item: Any) -> Any:
    if item.type == AttributeProto.TENSOR:
        return _tensor(item.t)
    kinds: dict[int, Callable[[], Any]] = {
        AttributeProto.INT: lambda: int(item.i),
        AttributeProto.FLOAT: lambda: float(item.f),
        AttributeProto.STRING: lambda: item.s.decode("utf-8"),
        AttributeProto.INTS: lambda: [int(value) for value in item.ints],
        AttributeProto.FLOATS: lambda: [float(value) for value in item.floats],
    }
    if item.type not in kinds:
        raise UsageError(f"No gradients here: the attribute {item.name} cannot be followed.")
    return kinds[item.type]()
