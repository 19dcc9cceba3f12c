"""`clearsight import` and `clearsight optimize` as their users call them."""

import json

import numpy as np
import pytest
from flow_support import tree
from PIL import Image

from clearsight.convert.speed import SpeedUp
from clearsight.testing.keras_file import small_keras
from clearsight.testing.small_network import SmallNetwork, noise_images
from clearsight.testing.source_contract import small_float_onnx

NAMES = ("ant", "bee", "猫", "dog")
SAID = ("--preprocess", "range=0-255", "--preprocess", "mean=127", "--preprocess", "std=128")


@pytest.fixture
def place(tmp_path):
    """A model, its class names and pictures of its classes."""
    (tmp_path / "small.onnx").write_bytes(small_float_onnx(SmallNetwork()))
    small_keras(tmp_path / "small.keras")
    (tmp_path / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
    images = noise_images(600, seed=3)
    for number, label in enumerate(SmallNetwork().logits(images).argmax(axis=1)):
        file = tmp_path / "photos" / NAMES[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number]).save(file)
    return tmp_path


def test_import_then_optimize_then_evaluate(clearsight, place, monkeypatch):
    slower = SpeedUp(((100, 80),))  # a network this small is all overhead: its speed is noise
    monkeypatch.setattr("clearsight.convert.optimize.measure_speed_up", lambda *given: slower)
    run = place / "run"
    common = ("--classes", place / "classes.txt", "--out", run, "--json", "--quiet")
    done = clearsight(
        "import", place / "small.onnx", *common, *SAID, "--data", place / "photos", "--limit", 200
    )
    assert done.code == 0, done.err
    assert done.json["evaluate"]["accuracy"] == 1
    assert done.json["evaluate"]["n"] == 200
    assert done.json["parity"]["max_difference"] < 1e-3
    before = tree(run)
    refused = clearsight(
        "optimize", run, "--data", place / "photos", "--max-drop", 0, "--json", "--quiet",
        "--precision", "fp16",
    )  # fmt: skip
    assert refused.code == 3  # 16-bit weights are not faster
    assert "--keep-slower" in refused.json["error"]["message"]
    assert tree(run) == before
    done = clearsight(
        "optimize", run, "--data", place / "photos", "--max-drop", 5, "--keep-slower", "--json"
    )
    assert done.code == 0, done.err
    assert done.json["variant"] == "int8"
    assert all(seen["drop"] <= 5 for seen in done.json["engines"].values())
    assert json.loads((run / "bundle" / "manifest.json").read_bytes())["variants"]["int8"]
    done = clearsight("evaluate", run, place / "photos", "--variant", "int8", "--json", "--quiet")
    assert done.json["variant"] == "int8"
    assert done.json["accuracy"] > 0.95


def test_import_for_people(clearsight, place):
    done = clearsight(
        "import", place / "small.keras", "--classes", place / "classes.txt", "--out", place / "run"
    )
    assert done.code == 0, done.err
    assert "answers as the model does" in done.out
    assert "--data" in done.out
    assert f"clearsight serve {place / 'run'}" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--precision", "int4"), "int8"),
        (("--max-drop", "-1"), "max-drop"),
        (("--limit", "0"), "limit"),
        ((), "--data"),
    ],
)
def test_optimize_refuses_what_it_cannot_do(clearsight, bundle, arguments, told):
    done = clearsight("optimize", bundle, *arguments)
    assert done.code == 2
    assert told in done.err


@pytest.mark.parametrize(
    ("model", "arguments", "told"),
    [
        ("small.onnx", (), "range"),
        ("small.onnx", ("--preprocess", "rnage=0-1"), "range"),
        ("small.onnx", ("--task", "multi"), "multi-label"),
        ("small.pt", (), "pickle"),
        ("small.txt", (), ".safetensors"),
        ("timm:no_such_network", (), "no_such_network"),
    ],
)
def test_import_asks_for_what_is_missing(clearsight, place, model, arguments, told):
    (place / "small.pt").write_bytes(b"\x80\x02")
    (place / "small.txt").write_bytes(b"model")
    path = model if model.startswith("timm:") else place / model
    done = clearsight(
        "import", path, "--classes", place / "classes.txt", "--out", place / "run", *arguments
    )
    assert done.code == 2, done.err
    assert told in done.err
    assert not (place / "run").exists()


def test_the_picture_of_a_class_is_named_so(clearsight, place):
    clearsight(
        "import", place / "small.keras", "--classes", place / "classes.txt", "--out", place / "run",
        "--quiet",
    )  # fmt: skip
    pictures = sorted((place / "photos" / "猫").glob("*.png"))[:5]
    done = clearsight("predict", place / "run", *pictures, "--json", "--quiet")
    labels = [row["label"] for row in done.json["rows"]]
    assert labels == ["猫"] * len(pictures)
    assert np.isfinite([row["score"] for row in done.json["rows"]]).all()
