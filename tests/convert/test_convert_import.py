"""A model from elsewhere becomes a Bundle that answers as it did, or nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearsight import api
from clearsight.convert import import_model as module
from clearsight.convert.import_model import Request
from clearsight.convert.source import SOURCES
from clearsight.core.bundle import MODEL, open_bundle
from clearsight.core.errors import (
    BundleError,
    ClearsightError,
    ConfigError,
    DataError,
    GateError,
    UsageError,
)
from clearsight.engines.golden import verify_golden
from clearsight.engines.open import open_predictor
from clearsight.testing.keras_file import convolution, keras_bytes, layer, sequential, small_keras
from clearsight.testing.small_network import SIZE, SmallNetwork, noise_images
from clearsight.testing.source_contract import small_float_onnx

SAID = ("range=0-255", "mean=127", "std=128")
Model = Callable[..., Path]


@pytest.fixture
def bring(tmp_path: Path, classes_file: Path) -> Callable[..., Any]:
    """Import a model into tmp_path/run."""

    def call(model: Path | str, *said: str, data: Path | None = None, **options: Any) -> Any:
        options.setdefault("classes", classes_file)
        return api.import_model(
            str(model), out=tmp_path / "run", preprocess=said, data=data, **options
        )

    return call


def test_an_onnx_model_becomes_a_bundle(
    bring: Any, float_model: Model, pictures: Path, tmp_path: Path
) -> None:
    found = bring(float_model(), *SAID, data=pictures)
    predictor = open_predictor(tmp_path / "run")
    images = noise_images(50, seed=7)
    np.testing.assert_allclose(predictor.logits(images), SmallNetwork().logits(images), atol=1e-4)
    assert found.parity.holds
    assert found.bundle.manifest.metrics["accuracy"] == 1.0  # it labelled the pictures itself
    assert found.bundle.manifest.temperature != 1.0
    assert found.bundle.manifest.reference is not None
    assert verify_golden(predictor) < 1e-3
    assert json.dumps(found.to_json())
    assert "imported" in (found.bundle.path / "card.md").read_text("utf-8")


def test_without_pictures_it_is_neither_scored_nor_calibrated(bring: Any, float_model: Any) -> None:
    found = bring(float_model(), *SAID)
    assert found.bundle.manifest.metrics == {}
    assert found.bundle.manifest.temperature == 1.0
    assert "not known" in (found.bundle.path / "card.md").read_text("utf-8")


def test_a_keras_model_becomes_a_bundle(bring: Any, tmp_path: Path, pictures: Path) -> None:
    found = bring(small_keras(tmp_path / "small.keras"), data=pictures)
    assert found.bundle.manifest.metrics["accuracy"] == 1.0
    images = noise_images(20, seed=7)
    got = open_predictor(tmp_path / "run").logits(images)
    np.testing.assert_allclose(got, SmallNetwork().logits(images), atol=1e-3)


def test_the_imported_run_serves_every_later_verb(
    bring: Any, float_model: Model, pictures: Path, tmp_path: Path
) -> None:
    bring(float_model(), *SAID)
    evaluation, report = api.evaluate_run(tmp_path / "run", pictures, None)
    assert evaluation.accuracy == 1.0
    assert report.is_file()
    picture = next(pictures.rglob("*.png"))
    assert api.load(tmp_path / "run").predict(picture).label == picture.parent.name


# --- outputs --------------------------------------------------------------------------------------


def ends_in(operator: str, **attributes: Any) -> Callable[[Any], None]:
    """Put an operator behind the logits."""
    from onnx import helper

    def change(model: Any) -> None:
        model.graph.node[-1].output[0] = "raw"
        model.graph.node.append(helper.make_node(operator, ["raw"], ["logits"], **attributes))

    return change


def hidden_softmax(model: Any) -> None:
    """Softmax without the operator of that name."""
    from onnx import helper

    model.graph.node[-1].output[0] = "raw"
    model.graph.node.extend(
        [
            helper.make_node("Exp", ["raw"], ["powers"]),
            helper.make_node("ReduceSum", ["powers", "one"], ["sum"], keepdims=1),
            helper.make_node("Div", ["powers", "sum"], ["logits"]),
        ]
    )
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one"))


def shares(images: Any) -> Any:
    logits = SmallNetwork().logits(images).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (ends_in("Softmax", axis=1), ()),
        (ends_in("Softmax", axis=1), ("outputs=probabilities",)),
        (hidden_softmax, ("outputs=probabilities",)),
        (ends_in("LogSoftmax", axis=1), ()),
    ],
)
def test_probabilities_are_folded_back_into_logits(
    bring: Any, float_model: Any, tmp_path: Path, change: Any, said: tuple[str, ...]
) -> None:
    bring(float_model(change), *SAID, *said)
    predictor = open_predictor(tmp_path / "run")
    images = noise_images(20, seed=1)
    np.testing.assert_allclose(predictor.probabilities(images), shares(images), atol=1e-4)


def test_probabilities_that_nobody_called_so_are_asked_about(bring: Any, float_model: Any) -> None:
    with pytest.raises(UsageError, match="look like probabilities"):
        bring(float_model(hidden_softmax), *SAID)


def test_logits_that_are_called_probabilities_are_refused(bring: Any, float_model: Any) -> None:
    with pytest.raises(UsageError, match="no probabilities"):
        bring(float_model(), *SAID, "outputs=probabilities")
    with pytest.raises(UsageError, match="ends in Softmax"):
        bring(float_model(ends_in("Softmax", axis=1)), *SAID, "outputs=logits")


def test_sigmoid_is_for_several_labels(bring: Any, float_model: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--task"):
        bring(float_model(ends_in("Sigmoid")), *SAID)
    bring(float_model(ends_in("Sigmoid")), *SAID, task="multi-label")
    images = noise_images(9)
    got = open_predictor(tmp_path / "run").probabilities(images)
    wanted = 1 / (1 + np.exp(-SmallNetwork().logits(images).astype(np.float64)))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("last", ["linear", "sigmoid"])
def test_one_number_for_two_classes(bring: Any, tmp_path: Path, last: str) -> None:
    noise = np.random.default_rng(0)
    weights = {
        "layers/dense/vars/0": noise.normal(size=(3, 1)).astype(np.float32) * 5,
        "layers/dense/vars/1": np.array([0.1], np.float32),
    }
    layers = [
        layer("Rescaling", scale=1 / 255, offset=0.0),
        layer("GlobalAveragePooling2D", data_format="channels_last", keepdims=False),
        layer("Dense", units=1, activation=last, use_bias=True),
    ]
    path = tmp_path / "two.keras"
    path.write_bytes(keras_bytes(sequential(layers, (SIZE, SIZE, 3)), weights))
    two = tmp_path / "two.txt"
    two.write_text("cat\ndog\n")
    bring(path, classes=two)
    images = noise_images(10)
    means = images.astype(np.float64).mean(axis=(1, 2)) / 255
    wanted = 1 / (1 + np.exp(-(means @ weights["layers/dense/vars/0"] + 0.1).reshape(-1)))
    got = open_predictor(tmp_path / "run").probabilities(images)[:, 1]
    np.testing.assert_allclose(got, wanted, atol=1e-4)


# --- inputs ---------------------------------------------------------------------------------------


def fixed_batch(model: Any) -> None:
    """As exported for one picture: batch 1 in the input and in a Reshape."""
    from onnx import helper, numpy_helper

    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    flatten = next(node for node in model.graph.node if node.op_type == "Flatten")
    reshape = helper.make_node("Reshape", [flatten.input[0], "shape"], list(flatten.output))
    flatten.CopyFrom(reshape)
    shape = numpy_helper.from_array(np.array([1, 6], np.int64), "shape")
    model.graph.initializer.append(shape)


def free_sizes(model: Any) -> None:
    for number in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[number].dim_param = f"side{number}"


def stuck_batch(model: Any) -> None:
    """A batch of one that cannot be freed: the mean over all pictures is subtracted."""
    from onnx import helper, numpy_helper

    model.graph.node[-1].output[0] = "raw"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["raw"], ["typical"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["raw", "half"], ["rest"]),
            helper.make_node("Sub", ["rest", "typical"], ["logits"]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))


@pytest.mark.parametrize(
    ("change", "said"), [(fixed_batch, ()), (free_sizes, (f"size={SIZE}",)), (None, ())]
)
def test_fixed_batches_and_free_sizes_are_mended(
    bring: Any, float_model: Any, tmp_path: Path, change: Any, said: tuple[str, ...]
) -> None:
    bring(float_model(change), *SAID, *said)
    images = noise_images(70, seed=2)
    got = open_predictor(tmp_path / "run").logits(images)
    np.testing.assert_allclose(got, SmallNetwork().logits(images), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said", "told"),
    [
        (None, (), "range"),
        (free_sizes, SAID, "size"),
        (stuck_batch, SAID, "batch"),
        (None, (*SAID, "size=9"), "size"),
        (None, (*SAID, "layout=NHWC"), "layout"),
        (None, (*SAID, "channels=grey"), "grey|channels"),
        (None, (*SAID, "output=nothing"), "no output"),
    ],
)
def test_what_cannot_be_known_is_asked_for(
    bring: Any, float_model: Any, tmp_path: Path, change: Any, said: tuple[str, ...], told: str
) -> None:
    with pytest.raises(ClearsightError, match=told):
        bring(float_model(change), *said)
    assert not (tmp_path / "run").exists()


def test_colours_in_the_other_order(bring: Any, float_model: Any, tmp_path: Path) -> None:
    bring(float_model(), *SAID, "channels=BGR")
    images = noise_images(20)
    got = open_predictor(tmp_path / "run").logits(images)
    wanted = SmallNetwork().logits(np.ascontiguousarray(images[..., ::-1]))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_a_model_of_pixels_is_taken_as_it_is(bring: Any, tmp_path: Path) -> None:
    path = tmp_path / "pixels.onnx"
    path.write_bytes(SmallNetwork().onnx_model())
    bring(path, "output=logits")
    images = noise_images(5)
    got = open_predictor(tmp_path / "run").logits(images)
    np.testing.assert_allclose(got, SmallNetwork().logits(images), atol=1e-4)


# --- refusals -------------------------------------------------------------------------------------


def test_wrong_class_counts_are_refused(bring: Any, float_model: Any, tmp_path: Path) -> None:
    three = tmp_path / "three.txt"
    three.write_text("a\nb\nc\n")
    with pytest.raises(BundleError, match=r"4 scores.*names 3"):
        bring(float_model(), *SAID, classes=three)


def test_classes_of_the_data_must_be_the_models(
    bring: Any, float_model: Any, tmp_path: Path, pictures: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("ant\nbee\ncow\ndog\n")
    with pytest.raises(DataError, match="猫"):
        bring(float_model(), *SAID, classes=other, data=pictures)
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_left_alone(bring: Any, float_model: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        bring(float_model(), *SAID)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_options_that_say_nothing_are_refused(bring: Any, float_model: Any) -> None:
    with pytest.raises(UsageError, match="architecture"):
        bring(float_model(), *SAID, architecture="resnet18")
    with pytest.raises(ConfigError, match="range"):
        bring(float_model(), "rage=0-1")


@pytest.mark.parametrize(
    "name", ["m.pt", "m.pth", "m.pt2", "m.pkl", "m.bin", "m.h5", "m.pb", "m.tflite", "m.joblib"]
)
def test_formats_that_run_code_are_refused_by_name(bring: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02cposix\nsystem\n")
    with pytest.raises(UsageError, match="not read"):
        bring(tmp_path / name)


def test_weights_without_a_network_ask_for_its_name(bring: Any, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="--architecture"):
        bring(tmp_path / "w.safetensors")
    with pytest.raises(BundleError, match="not those of test_resnet"):
        bring(tmp_path / "w.safetensors", architecture="test_resnet")


def test_a_conversion_that_is_wrong_is_caught(
    monkeypatch: pytest.MonkeyPatch, classes_file: Path, float_model: Model, tmp_path: Path
) -> None:
    """The negative control of the parity gate: the ONNX form of another network."""
    right = SOURCES.load("onnx")

    class Wrong(right):  # type: ignore[misc,valid-type]
        def read(self, model: str, wanted: Any) -> Any:
            read = super().read(model, wanted)
            spoilt = small_float_onnx(SmallNetwork().but(activation="Relu"))
            original = module.run_file(read.model, "logits")  # the right one
            return replace(read, model=spoilt, original=original)

    monkeypatch.setattr(module, "find_source", lambda model: ("onnx", Wrong()))
    request = Request(str(float_model()), classes_file, tmp_path / "run", SAID)
    with pytest.raises(GateError, match="does not answer as the model did"):
        module.import_model(request)
    assert not (tmp_path / "run").exists()


def test_the_bundle_holds_one_file_of_weights(bring: Any, float_model: Any) -> None:
    bundle = bring(float_model(), *SAID).bundle
    assert set(open_bundle(bundle.path).manifest.files) == {
        MODEL, "card.md", "golden/0.png", "golden/1.png", "golden/2.png", "golden/3.png",
        "golden/scores.json",
    }  # fmt: skip


def test_layers_with_code_are_named(bring: Any, tmp_path: Path) -> None:
    lambda_layer = layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "x"}})
    config = sequential([convolution(2, 3), lambda_layer], (SIZE, SIZE, 3))
    weights = {
        "layers/conv2d/vars/0": np.zeros((3, 3, 3, 2), np.float32),
        "layers/conv2d/vars/1": np.zeros(2, np.float32),
    }
    path = tmp_path / "lambda.keras"
    path.write_bytes(keras_bytes(config, weights))
    with pytest.raises(BundleError, match="holds code"):
        bring(path, "range=0-1")
