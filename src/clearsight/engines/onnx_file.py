"""Reads the outline of an ONNX file: what is in it, whether it is safe, and parts cut from it.

The base installation has no `onnx` package, and no engine may see a model before external data
and foreign operators are ruled out; so the protobuf wire format is walked here, skipping weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from clearsight.core.errors import BundleError, UsageError, nearest

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
MAX_DEPTH = 32
UINT8 = 2

# Field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
MODEL_GRAPH, MODEL_TRAINING, MODEL_FUNCTION = 7, 20, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_SPARSE = 1, 5, 11, 12, 15
NODE_INPUT, NODE_OUTPUT, NODE_TYPE, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 4, 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
ATTRIBUTE_SPARSE, ATTRIBUTE_SPARSES = 22, 23
FUNCTION_NAME, FUNCTION_NODE, FUNCTION_DOMAIN = 1, 7, 10
TENSOR_NAME, TENSOR_EXTERNAL, TENSOR_LOCATION = 8, 13, 14


@dataclass(frozen=True)
class OnnxInput:
    """The picture input of a model.

    Args:
        name: its name.
        shape: four numbers (n, h, w, c); None where any size is allowed.
    """

    name: str
    shape: tuple[int | None, ...]


@dataclass
class _Graph:
    nodes: list[_Node] = field(default_factory=list)
    initializers: set[str] = field(default_factory=set)
    inputs: list[memoryview] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


@dataclass
class _Node:
    span: tuple[int, int]
    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)


class OnnxFile:
    """The outline of one ONNX file that passed every safety rule.

    Args:
        content: the file's bytes.
        any_input: do not look at the inputs: a model from elsewhere that is not a Bundle's yet.

    Raises:
        BundleError: not an ONNX file, external data, an operator outside the ONNX standard, or
            not exactly one uint8 NHWC input.
    """

    def __init__(self, content: bytes, any_input: bool = False) -> None:
        self.content = content
        try:
            self._read(memoryview(content))
            if not any_input:
                self.input = self._read_input()
        except (IndexError, UnicodeDecodeError, ValueError) as error:
            raise BundleError(
                f"The model is not a readable ONNX file ({error}). Restore the Bundle from its "
                "source or train again."
            ) from error

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of every output."""
        return tuple(self._graph.outputs)

    def select(self, outputs: Sequence[str]) -> bytes:
        """Return the file cut down to what the named outputs need.

        Raises:
            UsageError: an output the model does not have.
        """
        for name in outputs:
            if name not in self.outputs:
                raise UsageError(f"The model has no output {name!r}.{nearest(name, self.outputs)}")
        if set(outputs) == set(self.outputs):
            return self.content
        kept = self._needed(set(outputs))
        view = memoryview(self.content)[self._graph_at[1] : self._graph_at[2]]
        parts: list[bytes | memoryview] = []
        for number, value, start, end in _fields(view):
            if number == GRAPH_NODE and (start, end) not in kept:
                continue
            if number == GRAPH_OUTPUT and _text(value, 1) not in outputs:
                continue
            parts.append(view[start:end])
        graph = b"".join(parts)
        start, _, end = self._graph_at
        key = _varint_bytes(MODEL_GRAPH << 3 | 2) + _varint_bytes(len(graph))
        return b"".join([self.content[:start], key, graph, self.content[end:]])

    def _needed(self, wanted: set[str]) -> set[tuple[int, int]]:
        kept = set()
        for node in reversed(self._graph.nodes):  # ONNX demands topological order
            if node.writes & wanted:
                kept.add(node.span)
                wanted = wanted | node.reads
        return kept

    def _read(self, view: memoryview) -> None:
        graphs: list[tuple[int, int, int]] = []
        functions: list[memoryview] = []
        for number, value, start, end in _fields(view):
            if number == MODEL_GRAPH:
                graphs.append((start, end - len(_message(value)), end))
            elif number == MODEL_TRAINING:
                raise BundleError("The model carries training graphs, which are not allowed.")
            elif number == MODEL_FUNCTION:
                functions.append(_message(value))
        if len(graphs) != 1:
            raise ValueError(f"{len(graphs)} graphs instead of one")
        self._local = {(_text(f, FUNCTION_DOMAIN), _text(f, FUNCTION_NAME)) for f in functions}
        for function in functions:
            for number, value, start, end in _fields(function):
                if number == FUNCTION_NODE:
                    self._read_node(_message(value), (start, end), 1)
        self._graph_at = graphs[0]
        self._graph = self._read_graph(view[graphs[0][1] : graphs[0][2]], 0)
        if not self._graph.outputs:
            raise ValueError("no outputs")

    def _read_graph(self, view: memoryview, depth: int) -> _Graph:
        if depth > MAX_DEPTH:
            raise BundleError(f"The model nests graphs deeper than {MAX_DEPTH} levels.")
        graph = _Graph()
        for number, value, start, end in _fields(view):
            if number == GRAPH_NODE:
                graph.nodes.append(self._read_node(_message(value), (start, end), depth))
            elif number == GRAPH_INITIALIZER:
                _check_tensor(_message(value))
                graph.initializers.add(_text(_message(value), TENSOR_NAME))
            elif number == GRAPH_SPARSE:
                _check_sparse(_message(value))
            elif number == GRAPH_INPUT:
                graph.inputs.append(_message(value))
            elif number == GRAPH_OUTPUT:
                graph.outputs.append(_text(_message(value), 1))
        return graph

    def _read_node(self, view: memoryview, span: tuple[int, int], depth: int) -> _Node:
        node = _Node(span)
        domain, kind = "", ""
        for number, value, _, _ in _fields(view):
            if number == NODE_INPUT:
                node.reads.add(_decode(value))
            elif number == NODE_OUTPUT:
                node.writes.add(_decode(value))
            elif number == NODE_TYPE:
                kind = _decode(value)
            elif number == NODE_DOMAIN:
                domain = _decode(value)
            elif number == NODE_ATTRIBUTE:
                node.reads |= self._read_attribute(_message(value), depth)
        if domain not in DOMAINS and (domain, kind) not in self._local:
            raise BundleError(
                f"The model uses the custom operator {domain}.{kind}; only operators of the ONNX "
                "standard are run. Export it again without custom operators."
            )
        return node

    def _read_attribute(self, view: memoryview, depth: int) -> set[str]:
        reads: set[str] = set()
        for number, value, _, _ in _fields(view):
            if number in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                _check_tensor(_message(value))
            elif number in (ATTRIBUTE_SPARSE, ATTRIBUTE_SPARSES):
                _check_sparse(_message(value))
            elif number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                inner = self._read_graph(_message(value), depth + 1)
                reads.update(*(node.reads for node in inner.nodes), inner.outputs)
        return reads

    def _read_input(self) -> OnnxInput:
        pictures = [
            (_text(view, 1), view)
            for view in self._graph.inputs
            if _text(view, 1) not in self._graph.initializers
        ]
        if len(pictures) != 1:
            raise BundleError(f"The model has {len(pictures)} inputs; it must have one (pictures).")
        name, view = pictures[0]
        tensor = _inner(_inner(view, 2), 1)
        kinds = [value for number, value, _, _ in _fields(tensor) if number == 1]
        dimensions = [v for number, v, _, _ in _fields(_inner(tensor, 2)) if number == 1]
        if kinds != [UINT8] or len(dimensions) != 4:
            raise BundleError(
                f"The model's input {name!r} must be uint8 pictures (n, h, w, c); got ONNX type "
                f"{kinds} with {len(dimensions)} axes."
            )
        shape = tuple(_size(_message(value)) for value in dimensions)
        if shape[0] is not None:
            raise BundleError(
                f"The model takes batches of {shape[0]} pictures only. Export it with a free "
                "batch axis."
            )
        return OnnxInput(name, shape)


def _check_tensor(view: memoryview) -> None:
    for number, value, _, _ in _fields(view):
        if number == TENSOR_EXTERNAL or (number == TENSOR_LOCATION and value != 0):
            raise BundleError(
                "The model keeps weights in other files (external data), which a Bundle may not. "
                "Export it again as one file."
            )


def _check_sparse(view: memoryview) -> None:
    for number, value, _, _ in _fields(view):
        if number in (1, 2):
            _check_tensor(_message(value))


def _size(dimension: memoryview) -> int | None:
    for number, value, _, _ in _fields(dimension):
        if number == 1 and isinstance(value, int):
            return value
    return None


def _inner(view: memoryview, wanted: int) -> memoryview:
    for number, value, _, _ in _fields(view):
        if number == wanted:
            return _message(value)
    return memoryview(b"")


def _text(view: memoryview | int, wanted: int) -> str:
    return str(_inner(_message(view), wanted), "utf-8")


def _decode(value: memoryview | int) -> str:
    return str(_message(value), "utf-8")


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _fields(view: memoryview | int) -> Iterator[tuple[int, memoryview | int, int, int]]:
    """Yield (field number, value, start, end) of one protobuf message."""
    view = _message(view)
    position, length = 0, len(view)
    while position < length:
        start = position
        key, position = _varint(view, position)
        wire = key & 7
        value: memoryview | int = 0
        if wire == 0:
            value, position = _varint(view, position)
        elif wire == 2:
            size, position = _varint(view, position)
            value = view[position : position + size]
            position += size
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if position > length:
            raise ValueError("a length beyond the end of the file")
        yield key >> 3, value, start, position


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number longer than 64 bits")


def _varint_bytes(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
