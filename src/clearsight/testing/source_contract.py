"""What every import format in `convert/sources/` must satisfy. Third parties: add an example."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from clearsight.convert.feeding import Feeding, Floats
from clearsight.convert.source import SOURCES, Read, Wanted
from clearsight.convert.sources.onnx import Onnx
from clearsight.core.errors import ClearsightError
from clearsight.core.nouns import ImagesNHWC
from clearsight.testing.contract import Contract
from clearsight.testing.small_network import CLASSES, SIZE, SmallNetwork, noise_images

SAME = 1e-3


@dataclass(frozen=True)
class Example:
    """One model of a format.

    Args:
        model: what the user would type.
        wanted: what a user would say of it.
        feeding: what the file does not say.
        images_nhwc: prepared pictures (n, h, w, c) uint8.
        scores: what it must give for them, worked out in another way when asked.
    """

    model: str
    wanted: Wanted
    feeding: dict[str, Any]
    images_nhwc: ImagesNHWC
    scores: Callable[[], Floats]


Make = Callable[[Path], Example]
"""Writes an example into a folder."""


def _onnx(folder: Path) -> Example:
    network = SmallNetwork()
    (folder / "small.onnx").write_bytes(small_float_onnx(network))
    images = noise_images(3)
    said = {"range": "0-255", "mean": network.mean, "std": network.scale, "channels": "RGB"}
    path = str(folder / "small.onnx")
    return Example(path, Wanted(CLASSES), said, images, lambda: network.logits(images))


def _keras(folder: Path) -> Example:
    from clearsight.testing.keras_file import small_keras

    images = noise_images(3)
    path = small_keras(folder / "small.keras")
    said = {"channels": "RGB"}
    scores = SmallNetwork().logits(images)
    return Example(str(path), Wanted(CLASSES), said, images, lambda: scores)


def _timm(folder: Path) -> Example:
    name, images = "tf_efficientnet_lite0", _photos(1, 224)

    def scores() -> Floats:
        from clearsight.core.progress import Silent
        from clearsight.learn.backbones import find_weights

        weights = find_weights(name, Silent())
        assert weights is not None, "the packaged weights are part of the development environment"
        return _torch_scores(name, weights.arrays, 1000, images, weights.mean, weights.std)

    return Example(f"timm:{name}", Wanted(1000), {}, images, scores)


def _safetensors(folder: Path) -> Example:
    import timm
    import torch
    from safetensors.numpy import save_file

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=CLASSES)
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    save_file(arrays, folder / "weights.safetensors")
    config = timm.get_pretrained_cfg("test_resnet")
    mean, std = (tuple(255 * value for value in part) for part in (config.mean, config.std))
    images = _photos(1, config.input_size[-1])
    wanted = Wanted(CLASSES, architecture="test_resnet")
    return Example(
        str(folder / "weights.safetensors"),
        wanted,
        {},
        images,
        lambda: _torch_scores("test_resnet", arrays, CLASSES, images, mean, std),
    )


def _photos(n: int, side: int) -> ImagesNHWC:
    return np.repeat(np.repeat(noise_images(n), side // SIZE, axis=1), side // SIZE, axis=2)


def _torch_scores(
    name: str,
    arrays: Mapping[str, Any],
    classes: int,
    images: ImagesNHWC,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Floats:
    """Work the scores out in torch, without ONNX."""
    import timm
    import torch

    network = timm.create_model(name, num_classes=classes)
    own = network.state_dict()
    state = {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}
    network.load_state_dict(own | state)
    low, spread = np.array(mean, np.float32), np.array(std, np.float32)
    pixels = (images.astype(np.float32) - low) / spread
    with torch.inference_mode():
        scores: Floats = network.eval()(torch.from_numpy(pixels.transpose(0, 3, 1, 2))).numpy()
    return scores


def small_float_onnx(network: SmallNetwork, change: Callable[[Any], None] | None = None) -> bytes:
    """Return a `SmallNetwork` as tools export it: normalised floats (n, c, h, w) in, logits out.

    Args:
        network: its weights.
        change: may spoil the ModelProto first.
    """
    from onnx import TensorProto

    def bare(model: Any) -> None:
        """Take the preparation off."""
        graph = model.graph
        nodes = [node for node in graph.node if node.op_type not in FRONT]
        nodes[0].input[0] = "pictures"
        del graph.node[:]
        graph.node.extend(nodes)
        graph.input[0].name = "pictures"
        tensor = graph.input[0].type.tensor_type
        tensor.elem_type = TensorProto.FLOAT
        for dimension, size in zip(tensor.shape.dim[1:], (3, SIZE, SIZE), strict=True):
            dimension.dim_value = size
        del graph.output[1:]
        if change is not None:
            change(model)

    return network.onnx_model(bare)


FRONT = ("Cast", "Gather", "Transpose", "Sub", "Div")


class SourceContract(Contract):
    """Claims its own models alone, reads them right, runs nothing in them, changes nothing."""

    registry = SOURCES
    examples: ClassVar[dict[str, Make]] = {
        "onnx": _onnx,
        "keras": _keras,
        "safetensors": _safetensors,
        "timm": _timm,
    }

    def check_claims_its_own_alone(self, source: Any) -> None:
        """One example is its own; the others and files of no model are not."""
        with tempfile.TemporaryDirectory() as folder:
            names = [make(Path(folder)).model for make in self.examples.values()]
            own = [name for name in names if source().claims(name)]
            assert len(own) == 1, f"claims {own} of {names}"
            for other in ("weights.pt", "photo.jpg", "", "model", "model.onnx.zip"):
                assert not source().claims(other)

    def check_answers_as_the_original(self, source: Any) -> None:
        """The ONNX model gives the scores that were worked out without it; so does `original`."""
        with tempfile.TemporaryDirectory() as folder:
            example, read = self._read(source, folder)
            feeding = Feeding.parse(
                {"channels": "RGB", **example.feeding} | read.feeding.model_dump(exclude_unset=True)
            )
            fed = feeding.feed(example.images_nhwc)
            np.testing.assert_allclose(_run(read.model, fed), example.scores(), atol=SAME)
            if read.original is not None:
                np.testing.assert_allclose(read.original(fed), example.scores(), atol=SAME)

    def check_reads_the_same_twice(self, source: Any) -> None:
        """The same file gives the same bytes and the same feeding."""
        with tempfile.TemporaryDirectory() as folder:
            example, one = self._read(source, folder)
            other = source().read(example.model, example.wanted)
            assert (one.model, one.feeding) == (other.model, other.feeding)

    def check_refuses_what_is_no_model(self, source: Any) -> None:
        """Garbage, pickles, archives and missing files are typed errors; nothing in them runs."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            witness = place / "it-ran"
            suffix = Path(self._own(source, folder).model).suffix
            for number, content in enumerate(hostile_contents(witness)):
                path = place / f"hostile-{number}{suffix}"
                path.write_bytes(content)
                _must_refuse(source, str(path) if suffix else f"timm:{path}", f"case {number}")
            for name in (f"{place}/missing{suffix}", f"{place}/../x{suffix}", "timm:", "timm:.."):
                if source().claims(name):
                    _must_refuse(source, name, name)
            assert not witness.exists(), "something in a model file was run"

    def check_leaves_files_alone(self, source: Any) -> None:
        """Nothing is written, changed or removed beside the model."""
        with tempfile.TemporaryDirectory() as folder:
            example = self._own(source, folder)
            before = _state(Path(folder))
            source().read(example.model, example.wanted)
            assert _state(Path(folder)) == before

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""

        class ClaimsAll(Onnx):
            def claims(self, model: str) -> bool:
                return True

        class Wrong(Onnx):
            def read(self, model: str, wanted: Wanted) -> Read:
                spoilt = small_float_onnx(SmallNetwork().but(activation="Relu"))
                return replace(super().read(model, wanted), model=spoilt)

        class Unsteady(Onnx):
            calls = 0

            def read(self, model: str, wanted: Wanted) -> Read:
                type(self).calls += 1
                read = super().read(model, wanted)
                return replace(read, model=read.model + b"\x32\x00" * (self.calls % 2))

        class RunsPickles(Onnx):
            def read(self, model: str, wanted: Wanted) -> Read:
                content = Path(model).read_bytes() if Path(model).is_file() else b""
                if content[:1] == b"\x80":  # what unpickling would do
                    Path(content.partition(b"touch ")[2].partition(b"\x85R.")[0].decode()).touch()
                return super().read(model, wanted)

        class Writes(Onnx):
            def read(self, model: str, wanted: Wanted) -> Read:
                Path(model).with_suffix(".cache").write_text("x")
                return super().read(model, wanted)

        return {
            "check_claims_its_own_alone": ClaimsAll,
            "check_answers_as_the_original": Wrong,
            "check_reads_the_same_twice": Unsteady,
            "check_refuses_what_is_no_model": RunsPickles,
            "check_leaves_files_alone": Writes,
        }

    def _own(self, source: Any, folder: str) -> Example:
        """Write the example that a format claims."""
        for make in self.examples.values():
            example = make(Path(folder))
            if source().claims(example.model):
                return example
        raise AssertionError("no example is of this format: add one to SourceContract.examples")

    def _read(self, source: Any, folder: str) -> tuple[Example, Read]:
        example = self._own(source, folder)
        return example, source().read(example.model, example.wanted)


def hostile_contents(witness: Path) -> list[bytes]:
    """Return contents that no format may accept; running one would write `witness`."""
    runs = touching_pickle(witness)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", runs)
        file.writestr("../outside", b"x")
    whole = small_float_onnx(SmallNetwork())
    return [
        b"",
        b"\0" * 64,
        bytes(range(256)) * 8,
        runs,
        archive.getvalue(),
        b"PK\x03\x04" + b"\0" * 40,
        b"\x89HDF\r\n\x1a\n" + b"\xff" * 200,
        (2**62).to_bytes(8, "little") + b"{}",
        whole[: len(whole) // 2],
        b"#!/bin/sh\ntouch " + str(witness).encode(),
    ]


def touching_pickle(path: Path) -> bytes:
    """Return a pickle, written by hand, that makes a file when it is loaded."""
    command = f"touch {path}".encode()
    return b"\x80\x02cposix\nsystem\nX" + len(command).to_bytes(4, "little") + command + b"\x85R."


def _must_refuse(source: Any, model: str, what: str) -> None:
    try:
        source().read(model, Wanted(CLASSES, architecture=None))
    except ClearsightError:
        return
    raise AssertionError(f"{what} was read")


def _run(model: bytes, fed: Floats) -> Floats:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (name,) = [item.name for item in session.get_inputs()]
    scores: Floats = session.run([session.get_outputs()[0].name], {name: fed})[0]
    return scores


def _state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
