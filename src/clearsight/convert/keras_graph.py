"""The layers of a Keras model as a list of plain steps, read from its description alone.

A step says what is computed, with numbers filled in; `keras_onnx` writes it as ONNX and
`keras_numpy` works it out, each on its own, so that one checks the other. Tensors are (n, c, h, w).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clearsight.convert.keras_layers import LAYERS, NOTHING, Step, Weights, by_number
from clearsight.core.errors import BundleError, nearest

NESTED_AT_MOST = 16
LAYERS_AT_MOST = 20_000
Shape = tuple[int, ...]
"""Of one picture's tensor, without the batch: (c, h, w) or (c,)."""
MODELS = ("Sequential", "Functional", "Model")
CODE = ("Lambda", "TFOpLambda", "SlicingOpLambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer")


@dataclass
class Graph:
    """A model as steps.

    Args:
        input_shape: (c, h, w) of one picture.
        steps: in the order in which they can be worked out.
        output: name of the tensor with the scores.
        output_shape: of one picture's scores.
    """

    input_shape: Shape
    steps: list[Step] = field(default_factory=list)
    output: str = ""
    output_shape: Shape = ()


INPUT = "input"


def read_graph(config: Mapping[str, Any], weights: Weights, size: Shape | None) -> Graph:
    """Read the description of a Keras model.

    Args:
        config: config.json of a .keras file.
        weights: arrays by path.
        size: (h, w) to use where the model takes any size.

    Raises:
        BundleError: a layer that holds code or is not known, or weights that do not fit.
    """
    shape = _input_shape(config, size)
    builder = _Builder(weights, Graph(shape))
    try:
        found = builder.model(config, "", [(INPUT, shape)], 0)
        builder.graph.output, builder.graph.output_shape = found
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"config.json describes no model that can be followed ({type(error).__name__}: "
            f"{error}). Save it again with Keras 3."
        ) from error
    return builder.graph


def _input_shape(config: Mapping[str, Any], size: Shape | None) -> Shape:
    """Return (c, h, w) of the input."""
    found = _find_shape(config, 0)
    if found is None or len(found) != 4:
        raise BundleError(
            f"config.json names no picture input (n, height, width, channels); got {found}. Give "
            "the model an Input layer and save it again."
        )
    height, width = (found[1], found[2]) if size is None else size
    if not isinstance(found[3], int) or found[3] not in (1, 3):
        raise BundleError(f"The model takes {found[3]} channels; 1 and 3 are served.")
    for own, said in ((found[1], height), (found[2], width)):
        if not isinstance(said, int) or own not in (None, said):
            raise BundleError(
                f"The model takes pictures of {found[1]} x {found[2]} pixels (None: any); "
                f"asked for {height} x {width}. Say a size with --preprocess size=HxW."
            )
    return found[3], height, width


def _find_shape(config: Mapping[str, Any], depth: int) -> list[Any] | None:
    """Return the (n, h, w, c) of the first input that the description names."""
    inner = config.get("config")
    if depth > NESTED_AT_MOST or not isinstance(inner, dict):
        return None
    for key in ("batch_shape", "batch_input_shape"):
        if isinstance(inner.get(key), list):
            return list(inner[key])
    for layer in inner.get("layers") or ():
        found = _find_shape(layer, depth + 1) if isinstance(layer, dict) else None
        if found is not None:
            return found
    built = inner.get("build_input_shape")
    if built is None and isinstance(config.get("build_config"), dict):
        built = config["build_config"].get("input_shape")
    return list(built) if isinstance(built, list) else None


Tensor = tuple[str, Shape]


class _Builder:
    """Follows models, nested ones as well, and collects their steps."""

    def __init__(self, weights: Weights, graph: Graph) -> None:
        self.weights, self.graph = weights, graph

    def model(
        self, config: Mapping[str, Any], path: str, given: list[Tensor], depth: int
    ) -> Tensor:
        """Follow one model; `path` is where its weights lie, "" or ending in "/"."""
        kind = config["class_name"]
        if kind not in MODELS or depth > NESTED_AT_MOST:
            raise BundleError(
                f"The model is a {kind!r} (its own class, or nested too deep). Sequential and "
                "Functional models are read: rebuild it as one of these and save it again."
            )
        if len(given) != 1:
            raise BundleError(f"The model {kind} takes {len(given)} inputs; one is allowed.")
        layers = config["config"]["layers"]
        if len(layers) > LAYERS_AT_MOST:
            raise BundleError(f"The model has {len(layers)} layers.")
        places = _places(layers, path, kind)
        if kind == "Sequential":
            found = given
            for layer, place in zip(layers, places, strict=True):
                found = [self.layer(layer, place, found, depth)]
            return found[0]
        return self._functional(config["config"], places, given[0], depth)

    def _functional(
        self, config: Mapping[str, Any], places: list[str], given: Tensor, depth: int
    ) -> Tensor:
        """Follow the calls of a Functional model; every call of a layer is a tensor."""
        known: dict[tuple[str, int], Tensor] = {}
        entry = _ends(config["input_layers"])
        if len(entry) != 1:
            raise BundleError(f"The model takes {len(entry)} inputs; one is allowed.")
        known[entry[0]] = given
        waiting = [
            (layer, place, number)
            for layer, place in zip(config["layers"], places, strict=True)
            for number in range(len(layer.get("inbound_nodes") or ()))
        ]
        while waiting:
            later = []
            for layer, place, number in waiting:
                reads, numbers = _reads(layer["inbound_nodes"][number])
                if all(key in known for key in reads):
                    name = (str(layer["config"]["name"]), number)
                    given_here = [known[key] for key in reads]
                    known[name] = (
                        self._with_number(layer, given_here, numbers)
                        if numbers
                        else self.layer(layer, place, given_here, depth)
                    )
                else:
                    later.append((layer, place, number))
            if len(later) == len(waiting):
                raise BundleError("config.json describes layers that wait for one another.")
            waiting = later
        exits = _ends(config["output_layers"])
        if len(exits) != 1:
            raise BundleError(f"The model gives {len(exits)} outputs; one is allowed.")
        return known[exits[0]]

    def _with_number(
        self, layer: Mapping[str, Any], given: list[Tensor], numbers: list[float]
    ) -> Tensor:
        """Add or multiply a plain number, as `x + 3.0` in a model's code does."""
        kind = layer["class_name"]
        if kind not in ("Add", "Multiply") or len(given) != 1 or len(numbers) != 1:
            raise BundleError(f"A layer {kind} is called with a constant, which is not read.")
        name, shape = f"t{len(self.graph.steps)}", given[0][1]
        step = by_number(kind, numbers[0], shape).between([given[0][0]], name)
        self.graph.steps.append(step)
        return name, shape

    def layer(
        self, layer: Mapping[str, Any], place: str, given: list[Tensor], depth: int
    ) -> Tensor:
        """Add the steps of one layer; return its tensor."""
        kind = str(layer["class_name"])
        if kind in MODELS:
            return self.model(layer, f"{place}/", given, depth + 1)
        if kind in CODE:
            raise BundleError(
                f"The model has a {kind} layer, which holds code. Nothing that a file says is run: "
                "replace it by layers of Keras and save the model again."
            )
        if kind in NOTHING:
            return given[0]
        if kind not in LAYERS or layer.get("registered_name") not in (None, kind):
            raise BundleError(
                f"The model has a layer of the kind {kind!r}, which is not read."
                f"{nearest(kind, [*LAYERS, *NOTHING])} Export the model as ONNX instead: "
                "model.export('model.onnx', format='onnx')."
            )
        make: Callable[..., list[tuple[Step, Shape]]] = LAYERS[kind]
        made = make(layer["config"], _Own(self.weights, place), [shape for _, shape in given])
        names = [name for name, _ in given]
        for step, _ in made:
            name = f"t{len(self.graph.steps)}"
            self.graph.steps.append(step.between(names, name))
            names = [name]
        return names[0], made[-1][1] if made else given[0][1]


class _Own:
    """The weights of one layer, in the order in which Keras wrote them."""

    def __init__(self, weights: Weights, place: str) -> None:
        self._weights, self._place = weights, place

    def __call__(self, number: int, shape: Shape) -> Any:
        """Return weight `number`, which must have this shape."""
        name = f"{self._place}/vars/{number}"
        if name not in self._weights:
            raise BundleError(f"The file lacks the weights {name!r}, which its description needs.")
        found = self._weights[name]
        if found.shape != shape:
            raise BundleError(
                f"The weights {name!r} have the shape {found.shape}; its description needs {shape}."
            )
        return found


def _places(layers: list[Any], path: str, kind: str) -> list[str]:
    """Return where each layer's weights lie: named after its class, numbered when it repeats."""
    used: dict[str, int] = {}
    places = []
    for layer in layers:
        name = snake_case(str(layer["class_name"]))
        if kind == "Sequential" and layer["class_name"] == "InputLayer":
            places.append("")
            continue
        if name in used:
            used[name] += 1
            name = f"{name}_{used[name]}"
        else:
            used[name] = 0
        places.append(f"{path}layers/{name}")
    return places


def snake_case(name: str) -> str:
    """Return a class name as Keras names its weights.

    Example:
        >>> snake_case("MaxPooling2D"), snake_case("Conv2D")
        ('max_pooling2d', 'conv2d')
    """
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _ends(value: Any) -> list[tuple[str, int]]:
    """Return (layer, call) of the inputs or outputs: one triple, or a list of them."""
    if value and isinstance(value[0], str):
        value = [value]
    return [(str(item[0]), int(item[1])) for item in value]


def _reads(node: Mapping[str, Any]) -> tuple[list[tuple[str, int]], list[float]]:
    """Return (layer, call) of the tensors that one call of a layer takes, and plain numbers."""
    extra = {key: value for key, value in (node.get("kwargs") or {}).items() if value is not None}
    if set(extra) - {"training", "mask"}:
        raise BundleError(f"A layer is called with {sorted(extra)}, which is not read.")
    found: list[tuple[str, int]] = []
    numbers: list[float] = []
    waiting = list(node["args"])
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, list):
            waiting = [*item, *waiting]
        elif isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
            layer, call, output = item["config"]["keras_history"]
            if output != 0:
                raise BundleError(f"The layer {layer} has several outputs, which is not read.")
            found.append((str(layer), int(call)))
        elif isinstance(item, int | float) and not isinstance(item, bool):
            numbers.append(float(item))
        elif item is not None:
            raise BundleError("A layer is called with something that is no tensor.")
    return found, numbers
