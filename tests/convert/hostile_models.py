"""Model files made to harm: each is written into a folder, none may be read, nothing may run."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from clearsight.testing.keras_file import convolution, keras_bytes, layer, sequential, weights_file
from clearsight.testing.small_network import SIZE, SmallNetwork
from clearsight.testing.source_contract import small_float_onnx, touching_pickle

Change = Callable[[Any], None]
HUGE = 10**12


def changed(change: Change) -> bytes:
    return small_float_onnx(SmallNetwork(), change)


def external(where: str) -> Change:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", where

    return change


def unused_external(model: Any) -> None:
    tensor = model.graph.initializer.add(name="unused", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/hostname")


def constant_external(model: Any) -> None:
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def custom(model: Any) -> None:
    model.graph.node[0].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)


def custom_in_branch(model: Any) -> None:
    inner = helper.make_graph(
        [helper.make_node("Run", [], ["y"], domain="com.example")],
        "inner",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    condition = numpy_helper.from_array(np.array(True), "condition")
    model.graph.initializer.append(condition)
    model.graph.node.append(
        helper.make_node("If", ["condition"], ["z"], then_branch=inner, else_branch=inner)
    )


def nested(levels: int) -> bytes:
    """Return graphs in graphs, deeper than anything needs, as protobuf written by hand."""

    def field(number: int, content: bytes) -> bytes:
        length = len(content)
        varint = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])
        return bytes([number << 3 | 2]) + varint + content

    graph = b""
    for _ in range(levels):
        graph = field(1, field(5, field(6, graph)))  # node, attribute, graph
    return b"\x08\x08" + field(7, graph)


def loop(model: Any) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("again", TensorProto.BOOL, [])],
    )
    for name, value in (("count", np.int64(2**62)), ("yes", np.array(True))):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    model.graph.node.append(helper.make_node("Loop", ["count", "yes"], [], body=body))


def bomb(operator: str) -> Change:
    """Add a number that takes terabytes to work out."""

    def change(model: Any) -> None:
        model.graph.node[-1].output[0] = "raw"
        shape = numpy_helper.from_array(np.array([HUGE], np.int64), "huge")
        model.graph.initializer.append(shape)
        nodes = [helper.make_node("ConstantOfShape", ["huge"], ["many"])]
        if operator != "ConstantOfShape":
            one = numpy_helper.from_array(np.array([1.0], np.float32), "single")
            model.graph.initializer.append(one)
            nodes = [helper.make_node(operator, ["single", "huge"], ["many"])]
        nodes += [
            helper.make_node("ReduceMax", ["many"], ["most"], keepdims=0),
            helper.make_node("Add", ["raw", "most"], ["logits"]),
        ]
        model.graph.node.extend(nodes)

    return change


def absurd_dims(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def negative_dims(model: Any) -> None:
    model.graph.initializer[0].dims[0] = -5


def training(model: Any) -> None:
    model.training_info.add()


def two_inputs(model: Any) -> None:
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[1].name = "more"


def no_axes(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.ClearField("dim")


def five_channels(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5


def unknown(model: Any) -> None:
    model.graph.node[0].op_type = "NoSuchOperator"


def nan(model: Any) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor) * np.float32("nan")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _archive(members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            if change is not None:
                change(info)
            file.writestr(info, content)
    return stream.getvalue()


def keras_config(*layers: Any) -> bytes:
    chosen = layers or (convolution(2, 3),)
    return json.dumps(sequential(chosen, (SIZE, SIZE, 3))).encode()


WEIGHTS = {
    "layers/conv2d/vars/0": np.zeros((3, 3, 3, 2), np.float32),
    "layers/conv2d/vars/1": np.zeros(2, np.float32),
}


def keras(config: bytes | None = None, weights: bytes | None = None, **more: bytes) -> bytes:
    members = {
        "config.json": config if config is not None else keras_config(),
        "model.weights.h5": weights if weights is not None else weights_file(WEIGHTS),
    }
    return _archive({**members, **more})


def hdf5(fill: Callable[[Any], None]) -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def external_link(file: Any) -> None:
    import h5py

    file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/hostname", "/x")


def link_to_itself(file: Any) -> None:
    layers = file.create_group("layers")
    layers["conv2d"] = layers


def absurd_array(file: Any) -> None:
    file.create_dataset("layers/conv2d/vars/0", (HUGE, 3), "f4", chunks=(1024, 3))


def of_text(file: Any) -> None:
    file.create_dataset("layers/conv2d/vars/0", data=b"import os")


def safetensors(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(**change: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **change}}


def deep(levels: int) -> bytes:
    return b'{"class_name":"Sequential","config":' + b"[" * levels + b"]" * levels + b"}"


def bombed() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", b" " * 30_000_000)
        file.writestr("model.weights.h5", weights_file(WEIGHTS))
    return stream.getvalue()


def linked(info: zipfile.ZipInfo) -> None:
    info.external_attr = (0o120777) << 16


def twice() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("config.json", keras_config())
        file.writestr("model.weights.h5", weights_file(WEIGHTS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file.writestr("config.json", b"{}")
    return stream.getvalue()


def files(witness: Path) -> dict[str, bytes]:
    """Return contents by name; what runs one of them makes `witness`."""
    runs = touching_pickle(witness)
    good = small_float_onnx(SmallNetwork())
    onnx = {
        "empty": b"",
        "zeros": b"\0" * 4096,
        "garbage": bytes(range(256)) * 16,
        "truncated": good[: len(good) // 2],
        "length-beyond-the-end": good + b"\x3a\xff\xff\xff\xff\x0f",
        "pickle": runs,
        "torch-archive": _archive({"archive/data.pkl": runs}),
        "program": b"\x7fELF" + b"\0" * 64,
        "external-parent": changed(external("../../../../etc/hostname")),
        "external-absolute": changed(external("/etc/hostname")),
        "external-unused": changed(unused_external),
        "external-constant": changed(constant_external),
        "custom-operator": changed(custom),
        "custom-in-branch": changed(custom_in_branch),
        "nested-graphs": nested(60),
        "endless-loop": changed(loop),
        "constant-bomb": changed(bomb("ConstantOfShape")),
        "tile-bomb": changed(bomb("Tile")),
        "expand-bomb": changed(bomb("Expand")),
        "absurd-dims": changed(absurd_dims),
        "negative-dims": changed(negative_dims),
        "training": changed(training),
        "two-inputs": changed(two_inputs),
        "no-axes": changed(no_axes),
        "five-channels": changed(five_channels),
        "unknown-operator": changed(unknown),
        "nan": changed(nan),
    }
    lambda_layer = layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "x"}})
    archives = {
        "no-archive": b"config.json",
        "old-format": hdf5(lambda file: None),
        "pickle": runs,
        "parent-name": keras(**{"../outside.txt": b"x"}),
        "absolute-name": keras(**{"/etc/outside.txt": b"x"}),
        "extra-pickle": keras(**{"assets.pkl": runs}),
        "link": _archive({"config.json": b"/etc/hostname", "model.weights.h5": b"x"}, linked),
        "nested-archive": keras(weights=_archive({"model.weights.h5": runs})),
        "pickle-for-weights": keras(weights=runs),
        "bomb": bombed(),
        "twice": twice(),
        "config-no-json": keras(config=b"__import__('os')"),
        "config-list": keras(config=b"[1]"),
        "config-deep": keras(config=deep(100_000)),
        "config-empty": keras(config=b"{}"),
        "lambda": keras(config=keras_config(lambda_layer)),
        "own-class": keras(config=keras_config(layer("Mine", module="os"))),
        "graph-of-tensorflow": keras(config=keras_config(layer("TFSMLayer", filepath="/etc"))),
        "weights-missing": keras(weights=weights_file({})),
        "weights-of-another-shape": keras(
            weights=weights_file({**WEIGHTS, "layers/conv2d/vars/1": np.zeros(3, np.float32)})
        ),
        "link-to-a-file": keras(weights=hdf5(external_link)),
        "group-in-itself": keras(weights=hdf5(link_to_itself)),
        "absurd-array": keras(weights=hdf5(absurd_array)),
        "text": keras(weights=hdf5(of_text)),
        "cut-weights": keras(weights=weights_file(WEIGHTS)[:700]),
        "absurd-layer": keras(config=keras_config(convolution(10**9, 3))),
        "absurd-padding": keras(
            config=keras_config(layer("ZeroPadding2D", padding=10**9, data_format=None))
        ),
        "cut": keras_bytes(json.loads(keras_config()), WEIGHTS)[:-40],
    }
    tensors = {
        "absurd-length": safetensors(b"{}", length=2**62),
        "no-json": safetensors(b"{import os}"),
        "beyond-the-end": safetensors(tensor(data_offsets=[0, 2**40]), b"\0" * 8),
        "overlapping": safetensors(tensor(data_offsets=[4, 8]), b"\0" * 8),
        "absurd-shape": safetensors(tensor(shape=[2**40, 2**40]), b"\0" * 8),
        "unknown-kind": safetensors(tensor(dtype="PICKLE"), b"\0" * 8),
        "no-header": b"\0" * 8,
        "pickle": runs,
        "deep": safetensors(b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    }
    return {
        **{f"{name}.onnx": content for name, content in onnx.items()},
        **{f"{name}.keras": content for name, content in archives.items()},
        **{f"{name}.safetensors": content for name, content in tensors.items()},
        "model.pt": runs,
        "model.pth": runs,
        "model.pt2": _archive({"code/__torch__.py": b"import os"}),
        "model.pkl": runs,
        "model.bin": runs,
        "model.h5": hdf5(lambda file: None),
        "model.onnx.zip": _archive({"model.onnx": good}),
    }


def special_files(folder: Path) -> Iterator[Path]:
    """Make and yield things that are no files but are named like models."""
    (folder / "folder.onnx").mkdir()
    yield folder / "folder.onnx"
    os.mkfifo(folder / "pipe.onnx")
    yield folder / "pipe.onnx"
    (folder / "device.onnx").symlink_to("/dev/zero")
    yield folder / "device.onnx"
    (folder / "nowhere.keras").symlink_to(folder / "missing")
    yield folder / "nowhere.keras"
    with open(folder / "large.onnx", "wb") as stream:
        stream.truncate(3 * 2**30)  # takes no room on the disk
    yield folder / "large.onnx"
