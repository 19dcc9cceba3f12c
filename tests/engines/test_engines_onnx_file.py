from __future__ import annotations

import random
import time
from typing import Any

import pytest

from clearsight.core.errors import BundleError, UsageError
from clearsight.engines.onnx_file import MAX_DEPTH, OnnxFile, _varint_bytes
from clearsight.testing.engine_contract import bad_models
from clearsight.testing.small_network import OUTPUTS, SmallNetwork

onnx = pytest.importorskip("onnx")


def message(number: int, content: bytes) -> bytes:
    return _varint_bytes(number << 3 | 2) + _varint_bytes(len(content)) + content


def test_reads_the_outline() -> None:
    file = OnnxFile(SmallNetwork().onnx_model())
    assert file.outputs == OUTPUTS
    assert file.input.name == "images"
    assert file.input.shape == (None, 8, 8, 3)


def test_select_gives_a_valid_smaller_model() -> None:
    file = OnnxFile(SmallNetwork().onnx_model())
    features = onnx.load_from_string(file.select(["features"]))
    onnx.checker.check_model(features)
    assert [output.name for output in features.graph.output] == ["features"]
    assert [node.op_type for node in features.graph.node][-1] == "Clip"
    assert len(onnx.load_from_string(file.select(["embedding"])).graph.node) == 9
    assert file.select(OUTPUTS) == file.content
    with pytest.raises(UsageError, match="Did you mean 'logits'"):
        file.select(["logit"])


def test_select_keeps_what_inner_graphs_read() -> None:
    helper = onnx.helper
    value = helper.make_tensor_value_info

    def branch(name: str) -> Any:
        add = helper.make_node("Add", ["floats", name], [f"{name}_sum"])
        return helper.make_graph([add], name, [], [value(f"{name}_sum", 1, None)])

    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=1),
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Constant", [], ["unused"], value_float=3.0),
        helper.make_node(
            "If", ["flag"], ["logits"], then_branch=branch("one"), else_branch=branch("two")
        ),
    ]
    flag = onnx.numpy_helper.from_array(__import__("numpy").array(True), "flag")
    outputs = [value("logits", 1, ["n", 2, 2, 1]), value("unused", 1, [])]
    graph = helper.make_graph(nodes, "g", [value("images", 2, ["n", 2, 2, 1])], outputs, [flag])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    cut = onnx.load_from_string(OnnxFile(model.SerializeToString()).select(["logits"]))
    names = [output for node in cut.graph.node for output in node.output]
    assert names == ["floats", "one", "two", "logits"]


@pytest.mark.parametrize("name", sorted(set(bad_models()) - {"unknown", "absurd"}))
def test_bad_models_never_reach_an_engine(name: str) -> None:
    with pytest.raises(BundleError):
        OnnxFile(bad_models()[name])


@pytest.mark.parametrize("where", ["attribute", "inner graph", "sparse", "function"])
def test_external_data_and_custom_operators_hide_nowhere(where: str) -> None:
    def hide(model: Any) -> None:
        node = model.graph.node[0]
        if where == "attribute":
            node.attribute.add(name="t").t.data_location = 1
        elif where == "inner graph":
            inner = node.attribute.add(name="g").g
            inner.node.add(op_type="Evil", domain="com.example")
        elif where == "sparse":
            sparse = model.graph.sparse_initializer.add()
            sparse.values.external_data.add(key="location", value="x")
        else:
            function = model.functions.add(name="f", domain="mine")
            function.node.add(op_type="Evil", domain="com.example")

    with pytest.raises(BundleError, match=r"external data|custom operator"):
        OnnxFile(SmallNetwork().onnx_model(hide))


def test_functions_inside_the_model_are_no_custom_operators() -> None:
    def define(model: Any) -> None:
        model.functions.add(name="Half", domain="mine").node.add(op_type="Abs")
        model.graph.node[3].domain, model.graph.node[3].op_type = "mine", "Half"

    assert OnnxFile(SmallNetwork().onnx_model(define)).outputs == OUTPUTS


def test_training_graphs_and_deep_nesting_are_refused() -> None:
    with pytest.raises(BundleError, match="training"):
        OnnxFile(SmallNetwork().onnx_model() + message(20, b""))
    graph = b""
    for _ in range(MAX_DEPTH + 2):
        graph = message(1, message(5, message(6, graph)))
    with pytest.raises(BundleError, match="deeper"):
        OnnxFile(message(7, graph))


def test_two_graphs_are_refused() -> None:
    content = SmallNetwork().onnx_model()
    with pytest.raises(BundleError, match="2 graphs"):
        OnnxFile(content + message(7, b""))


def test_mutated_files_give_only_typed_errors_and_quickly() -> None:
    good = SmallNetwork().onnx_model()
    noise = random.Random(0)
    refused = 0
    began = time.monotonic()
    for _ in range(1500):
        content = bytearray(good)
        for _ in range(noise.randint(1, 4)):
            content[noise.randrange(len(content))] = noise.randrange(256)
        try:
            file = OnnxFile(bytes(content[: noise.randint(len(content) // 2, len(content))]))
            file.select(file.outputs[:1])
        except BundleError:
            refused += 1
    assert refused > 500
    assert time.monotonic() - began < 20
