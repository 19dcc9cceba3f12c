"""Every operator in torch gives what ONNX Runtime gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from clearsight.learn.onnx_in_torch import Node, compute
from clearsight.learn.onnx_operators import OPERATORS

RANDOM = np.random.default_rng(0)


def drawn(*shape: int, low: float = -2, high: float = 2) -> Any:
    return RANDOM.uniform(low, high, shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


X = drawn(2, 4, 7, 6)
POSITIVE = drawn(2, 4, 7, 6, low=0.1, high=2)
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    *((name, [X], {}) for name in (
        "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "GlobalAveragePool", "GlobalMaxPool",
        "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Neg", "Reciprocal", "Relu", "Round",
        "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh", "Mish",
    )),
    ("Log", [POSITIVE], {}),
    ("Sqrt", [POSITIVE], {}),
    *((name, [X, drawn(4, 1, 6)], {}) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    ("Pow", [POSITIVE, np.float32(1.5)], {}),
    ("Div", [ints(7, -7, 9), ints(2, 2, 3)], {}),
    ("Sum", [X, X, X], {}),
    ("Mean", [X, drawn(2, 4, 7, 6)], {}),
    *((name, [X, drawn(2, 4, 7, 6)], {}) for name in (
        "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual",
    )),
    ("Where", [X > 0, X, drawn(2, 4, 7, 6)], {}),
    ("And", [X > 0, X > 1], {}),
    ("Or", [X > 0, X > 1], {}),
    ("Not", [X > 0], {}),
    ("PRelu", [X, drawn(4, 1, 1)], {}),
    ("Gelu", [X], {}),
    ("Gelu", [X], {"approximate": "tanh"}),
    ("Clip", [X, np.float32(-1), np.float32(0.5)], {}),
    ("Conv", [X, drawn(6, 4, 3, 3), drawn(6)], {"pads": [1, 1, 1, 1]}),
    ("Conv", [X, drawn(6, 2, 3, 2)], {"group": 2, "strides": [2, 1], "pads": [0, 1, 2, 0]}),
    ("Conv", [X, drawn(4, 1, 3, 3)], {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", [X, drawn(4, 4, 2, 2)], {"auto_pad": "SAME_LOWER", "dilations": [2, 2]}),
    ("MaxPool", [X], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]}),
    ("MaxPool", [X], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", [X], {"kernel_shape": [2, 2], "pads": [1, 0, 1, 0], "count_include_pad": 1}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("BatchNormalization", [X, drawn(4), drawn(4), drawn(4), drawn(4, low=0.5)], {}),
    ("InstanceNormalization", [X, drawn(4), drawn(4)], {"epsilon": 1e-3}),
    ("GroupNormalization", [X, drawn(4), drawn(4)], {"num_groups": 2}),
    ("LayerNormalization", [X, drawn(6), drawn(6)], {}),
    ("LayerNormalization", [X, drawn(7, 6)], {"axis": 2}),
    ("LRN", [X], {"size": 3}),
    ("LpNormalization", [X], {"axis": 1}),
    ("Softmax", [X], {}),
    ("Softmax", [X], {"axis": 1}),
    ("LogSoftmax", [X], {}),
    ("Gemm", [drawn(3, 4), drawn(5, 4), drawn(5)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [drawn(4, 3), drawn(4, 5)], {"transA": 1}),
    ("MatMul", [drawn(2, 3, 4), drawn(4, 5)], {}),
    ("Einsum", [drawn(2, 3, 4), drawn(2, 4, 5)], {"equation": "bij,bjk->bik"}),
    *((name, [X, ints(2, 3)], {"keepdims": keep}) for keep in (0, 1) for name in (
        "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
        "ReduceProd", "ReduceSumSquare",
    )),
    ("ReduceMean", [X], {}),
    ("ReduceSum", [X], {"noop_with_empty_axes": 1}),
    ("Reshape", [X, ints(0, -1, 3)], {}),
    ("Flatten", [X], {"axis": 2}),
    ("Squeeze", [drawn(2, 1, 3, 1), ints(1, -1)], {}),
    ("Squeeze", [drawn(2, 1, 3, 1)], {}),
    ("Unsqueeze", [drawn(2, 3), ints(0, -1)], {}),
    ("Transpose", [X], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [drawn(2, 3, 4)], {}),
    ("Slice", [X, ints(1, -3), ints(100, -1), ints(2, 3)], {}),
    ("Slice", [X, ints(-1), ints(-(2**63)), ints(3), ints(-1)], {}),
    ("Slice", [X, ints(-2), ints(0), ints(2), ints(-2)], {}),
    ("Slice", [X, ints(0), ints(7), ints(2), ints(3)], {}),
    ("Gather", [X, ints(2, -1, 0)], {"axis": 3}),
    ("Gather", [X, np.array(1, np.int64)], {"axis": 1}),
    ("Split", [X, ints(1, 3)], {"axis": 1, "outputs": 2}),
    ("Concat", [X, X], {"axis": 1}),
    ("Expand", [drawn(1, 4, 1), ints(2, 1, 3)], {}),
    ("Tile", [drawn(2, 3), ints(2, 1)], {}),
    ("Cast", [X], {"to": TensorProto.INT64}),
    ("Pad", [X, ints(0, 0, 1, 0, 0, 0, 2, 3), np.float32(1.5)], {}),
    ("Pad", [X, ints(0, 0, 1, 2, 0, 0, 2, 0)], {"mode": "reflect"}),
    ("Pad", [X, ints(0, 0, 1, 2, 0, 0, 2, 0)], {"mode": "edge"}),
    ("ConstantOfShape", [ints(2, 3)], {"value": numpy_helper.from_array(np.float32([2]))}),
    ("Range", [np.int64(1), np.int64(9), np.int64(3)], {}),
    ("DepthToSpace", [X], {"blocksize": 2}),
    ("DepthToSpace", [X], {"blocksize": 2, "mode": "CRD"}),
    ("Resize", [X, None, None, ints(2, 4, 14, 9)], {"mode": "linear"}),
    ("Resize", [X, None, np.float32([1, 1, 2, 2])],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("Mod", [ints(7, -7, 9), ints(2, 2, 3)], {}),
    ("Dropout", [X], {}),
]  # fmt: skip


def by_runtime(operator: str, inputs: list[Any], attributes: dict[str, Any]) -> list[Any]:
    """Run one operator in ONNX Runtime."""
    attributes = dict(attributes)
    count = attributes.pop("outputs", 1)
    names = ["" if value is None else f"i{at}" for at, value in enumerate(inputs)]
    given = {n: np.asarray(v) for n, v in zip(names, inputs, strict=True) if n}
    outputs = [f"o{at}" for at in range(count)]
    graph = helper.make_graph(
        [helper.make_node(operator, names, outputs, **attributes)],
        "one",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in given.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    version = 22 if operator in ("Mish", "Gelu", "GroupNormalization") else 18
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", version)], ir_version=10
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, given)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"), CASES, ids=[f"{n}-{c[0]}" for n, c in enumerate(CASES)]
)
def test_an_operator_is_onnx_runtimes(
    operator: str, inputs: list[Any], attributes: dict[str, Any]
) -> None:
    try:
        wanted = by_runtime(operator, inputs, attributes)
    except Exception as error:  # noqa: BLE001 - the oracle does not know it
        pytest.skip(f"ONNX Runtime: {error}")
    told = {
        k: torch.from_numpy(numpy_helper.to_array(v).copy()) if hasattr(v, "raw_data") else v
        for k, v in attributes.items()
    }
    tensors = [None if v is None else torch.from_numpy(np.array(v)) for v in inputs]
    node = Node(operator, (), (), {"version": 18, "outputs": 1, **told})
    found = compute(node, tensors)
    for one, other in zip(found, wanted, strict=True):
        assert tuple(one.shape) == other.shape
        assert np.allclose(one.numpy(), other, atol=1e-4, rtol=1e-4)


def test_every_operator_has_a_case() -> None:
    assert set(OPERATORS) <= {operator for operator, _, _ in CASES}


def test_a_wrong_operator_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "Relu", lambda a, inputs: inputs[0])
    with pytest.raises(AssertionError):
        test_an_operator_is_onnx_runtimes("Relu", [X], {})
