"""The examples of the how-to pages run: importing the textbook Keras network, making it faster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clearsight.testing.keras_file import convolution, keras_bytes, layer, sequential

EXAMPLES = Path(__file__).parents[2] / "examples"
KERAS = os.environ.get("CLEARSIGHT_KERAS_PYTHON", "")
LAST = {"data_format": "channels_last"}


def example(name: str, *arguments: object) -> str:
    """Run an example as its users do."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def textbook(path: Path) -> Path:
    """Write the textbook network, untrained, as Keras would."""
    pool = layer("MaxPooling2D", pool_size=[2, 2], strides=[2, 2], padding="valid", **LAST)
    config = sequential(
        [
            convolution(32, 3, activation="relu"),
            pool,
            convolution(64, 3, activation="relu"),
            pool,
            layer("Flatten", **LAST),
            layer("Dense", units=64, activation="relu", use_bias=True),
            layer("Dense", units=10, activation="linear", use_bias=True),
        ],
        (28, 28, 1),
    )
    noise = np.random.default_rng(0)
    shapes: dict[str, Any] = {
        "conv2d": (3, 3, 1, 32), "conv2d_1": (3, 3, 32, 64), "dense": (1600, 64),
        "dense_1": (64, 10),
    }  # fmt: skip
    weights = {}
    for name, shape in shapes.items():
        spread = (2 / np.prod(shape[:-1])) ** 0.5
        weights[f"layers/{name}/vars/0"] = noise.normal(0, spread, shape).astype(np.float32)
        weights[f"layers/{name}/vars/1"] = np.zeros(shape[-1], np.float32)
    path.write_bytes(keras_bytes(config, weights))
    return path


def digits(folder: Path, per_class: int) -> Path:
    """Write scikit-learn's digits as class folders, 28 x 28."""
    from sklearn.datasets import load_digits

    found = load_digits()
    seen = dict.fromkeys(range(10), 0)
    for pixels, label in zip(found.images, found.target, strict=True):
        if seen[int(label)] < per_class:
            grey = Image.fromarray((pixels * 255 / 16).astype(np.uint8))
            file = folder / str(label) / f"{seen[int(label)]:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            grey.resize((28, 28), Image.Resampling.BICUBIC).save(file)
            seen[int(label)] += 1
    return folder


@pytest.fixture
def ten_classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("\n".join("0123456789") + "\n")
    return path


def test_the_textbook_network_is_imported(tmp_path: Path, ten_classes: Path) -> None:
    model = textbook(tmp_path / "model.keras")
    data = digits(tmp_path / "digits", 6)
    run = tmp_path / "run"
    said = example("04_import_a_keras_model.py", model, ten_classes, data, run)
    assert "Same answers as the original" in said
    assert "Classes: 0, 1, 2" in said
    assert (run / "bundle" / "model.onnx").is_file()


TRAINS = """
import sys
import keras, numpy as np
data, out = sys.argv[1:]
x, y = (np.load(data)[name] for name in "xy")
keras.utils.set_random_seed(0)
layers = keras.layers
model = keras.Sequential([
    keras.Input((28, 28, 1)),
    layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
    layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
    layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
model.fit(x, y, epochs=8, verbose=0)
model.save(out)
print(model.evaluate(x, y, verbose=0)[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not KERAS, reason="CLEARSIGHT_KERAS_PYTHON names no Python with Keras 3")
def test_keras_trains_the_textbook_network_and_it_is_imported(
    tmp_path: Path, ten_classes: Path
) -> None:
    data, model = digits(tmp_path / "digits", 100), tmp_path / "model.keras"
    files = sorted(data.rglob("*.png"))
    x = np.stack([np.asarray(Image.open(file), np.float32) for file in files])[..., None] / 255
    arrays = tmp_path / "digits.npz"
    np.savez(arrays, x=x, y=[int(file.parent.name) for file in files])
    done = subprocess.run(
        [KERAS, "-c", TRAINS, str(arrays), str(model)], capture_output=True, text=True, check=True
    )
    said = example("04_import_a_keras_model.py", model, ten_classes, data, tmp_path / "run")
    ours = float(said.split("Accuracy ")[1].split()[0])
    assert float(done.stdout.split()[-1]) > 0.9
    assert abs(ours - float(done.stdout.split()[-1])) < 0.02  # it scores the part that judges


@pytest.mark.slow
def test_a_run_is_made_faster_or_it_says_why(tmp_path: Path) -> None:
    data = digits(tmp_path / "digits", 30)
    train = [sys.executable, "-m", "clearsight", "train", str(data), "--out", str(tmp_path / "run")]
    train += ["--epochs", "2", "--model", "compact", "--quiet"]
    subprocess.run(train, check=True, capture_output=True, env={**os.environ, "NO_COLOR": "1"})
    said = example("05_make_it_faster.py", tmp_path / "run")
    assert "times as fast" in said or "Nothing was changed" in said
