"""A Bundle that does not answer as the model that was trained is refused, whatever is wrong."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clearsight.core.bundle import MODEL, Bundle, write_bundle
from clearsight.core.errors import GateError, ImageError
from clearsight.core.nouns import ImageHWC, ImagesNHWC, Predictor, Preprocessing
from clearsight.core.seeds import generator
from clearsight.data.decode import decode
from clearsight.data.preprocess import prepare_encoded
from clearsight.engines.open import open_predictor
from clearsight.learn.parity import check_parity
from clearsight.learn.picture_variants import picture_variants
from clearsight.testing.small_network import SIZE, SmallNetwork

WANTED = Preprocessing(height=SIZE, width=SIZE)
TRAINED = SmallNetwork()
OPENERS: Mapping[str, Callable[[Bundle], Predictor]] = {
    name: partial(open_predictor, engine=name) for name in ("onnxruntime", "openvino")
}


def photos(n: int) -> list[bytes]:
    """Pictures with structure, in the formats that cameras and tools write."""
    noise = generator(0, "photos")
    files = []
    for number in range(n):
        coarse = noise.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((60 + number % 7, 45), Image.Resampling.BICUBIC)
        stream = io.BytesIO()
        picture.save(stream, ["JPEG", "PNG", "WEBP"][number % 3])
        files.append(stream.getvalue())
    return files


ENCODED = photos(40)
PIXELS = np.stack([prepare_encoded(content, WANTED) for content in ENCODED])


def gate(path: Path, exported: SmallNetwork = TRAINED, **changes: Any) -> dict[str, Any]:
    """Write a Bundle of `exported` behind the gate; return the gate's figures."""
    figures: dict[str, Any] = {}
    about = {
        "id": "0123456789abcdef",
        "created_utc": "",
        "classes": ("a", "b", "c", "d"),
        "family": "small",
        "preprocessing": changes.pop("preprocessing", WANTED).model_dump(),
        "temperature": 1.5,
        "metrics": {},
        "data_fingerprint": "",
        "seed": 0,
        "config": {},
        "versions": {},
    }

    def check(staged: Bundle) -> None:
        arguments: dict[str, Any] = {
            "reference": TRAINED.logits,
            "encoded": ENCODED,
            "trained_pixels": PIXELS,
            "openers": OPENERS,
        }
        figures.update(check_parity(staged, **arguments | changes))

    write_bundle(path / "bundle", about, {MODEL: exported.onnx_model()}, check)
    return figures


def refused(path: Path, exported: SmallNetwork = TRAINED, **changes: Any) -> str:
    with pytest.raises(GateError) as caught:
        gate(path, exported, **changes)
    assert caught.value.exit_code == 3
    assert os.listdir(path) == []
    return str(caught.value)


def test_a_true_export_passes_with_figures(tmp_path: Path) -> None:
    figures = gate(tmp_path)
    assert figures["pictures"] == len(ENCODED)
    assert figures["variants"] == 27
    assert set(figures["engines"]) == set(OPENERS)
    for engine in figures["engines"].values():
        assert engine["same_label"] == 1.0
        assert engine["max_difference"] < 1e-5
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.parametrize(
    "broken",
    [
        {"mean": 0.0},
        {"mean": 127.5, "scale": 127.5},
        {"mean": 124.0},
        {"scale": 255.0},
        {"colours": (2, 1, 0)},
        {"activation": "HardSwish"},
        {"activation": "Relu"},
        {"classes": (1, 0, 2, 3)},
        {"bias": float("nan")},
        {"seed": 1},
    ],
    ids=str,
)
def test_broken_exports(tmp_path: Path, broken: dict[str, Any]) -> None:
    message = refused(tmp_path, TRAINED.but(**broken))
    assert "No Bundle was written" in message


@pytest.mark.parametrize("engine", OPENERS)
def test_one_engine_that_disagrees_is_enough(tmp_path: Path, engine: str) -> None:
    class Off:
        def __init__(self, predictor: Predictor) -> None:
            self.predictor = predictor

        def __getattr__(self, name: str) -> Any:
            return getattr(self.predictor, name)

        def probabilities(self, images: ImagesNHWC) -> Any:
            scores = self.predictor.probabilities(images)
            scores[-1] += np.float32([2e-3, -2e-3, 0, 0])
            return scores

    openers = {**OPENERS, engine: lambda staged: Off(open_predictor(staged, engine))}
    assert f"engine {engine} disagrees" in refused(tmp_path, openers=openers)


@pytest.mark.parametrize(
    ("preprocessing", "said"),
    [
        (WANTED.model_copy(update={"fit": "crop"}), "another picture than training"),
        (WANTED.model_copy(update={"fit": "letterbox"}), "another picture than training"),
        (WANTED.model_copy(update={"height": 9}), "shape (9, 8, 3)"),
    ],
)
def test_another_preprocessing(tmp_path: Path, preprocessing: Preprocessing, said: str) -> None:
    assert said in refused(tmp_path, preprocessing=preprocessing)


def test_pixels_resized_differently(tmp_path: Path) -> None:
    resized = [
        np.asarray(Image.fromarray(decode(content)).resize((SIZE, SIZE)), dtype=np.uint8)
        for content in ENCODED
    ]
    assert "pixels off by up to" in refused(tmp_path, trained_pixels=np.stack(resized))


def test_pixels_off_by_one(tmp_path: Path) -> None:
    pixels = PIXELS.copy()
    pixels[-1, 0, 0, 0] ^= 1
    assert "pixels off by up to 1 of 255" in refused(tmp_path, trained_pixels=pixels)


class Careless:
    """A predictor whose decoding forgets something."""

    def __init__(self, predictor: Predictor, forget: Callable[[bytes], ImageHWC]) -> None:
        self.predictor, self.forget = predictor, forget

    def __getattr__(self, name: str) -> Any:
        return getattr(self.predictor, name)

    def prepare(self, encoded: bytes) -> ImageHWC:
        return self.forget(encoded)


@pytest.mark.parametrize("mode", ["exif", "CMYK", "16-bit"])
def test_careless_decoding(tmp_path: Path, mode: str) -> None:
    def forget(encoded: bytes) -> ImageHWC:
        picture = Image.open(io.BytesIO(encoded))
        if mode == "exif" and picture.format == "PNG" and picture.getexif():
            picture.getexif().clear()
        elif not (mode == "CMYK" and picture.mode == "CMYK"):
            pixels = prepare_encoded(encoded, WANTED)
            return pixels // 2 if mode == "16-bit" and _depth(encoded) == 16 else pixels
        stream = io.BytesIO()
        plain = picture if mode == "exif" else Image.merge("RGB", picture.split()[:3])
        plain.save(stream, "PNG", exif=b"")
        return prepare_encoded(stream.getvalue(), WANTED)

    openers = {"careless": lambda staged: Careless(open_predictor(staged), forget)}
    kind = "exif-3" if mode == "exif" else mode.lower()
    assert f"{kind} picture, pixels off" in refused(tmp_path, openers=openers)


def _depth(encoded: bytes) -> int:
    return encoded[24] if encoded.startswith(b"\x89PNG") else 8


def test_labels_in_another_order_than_the_classes(tmp_path: Path) -> None:
    class Swapped:
        def __init__(self, predictor: Predictor) -> None:
            self.predictor = predictor

        def __getattr__(self, name: str) -> Any:
            return getattr(self.predictor, name)

        def recognize(self, encoded: bytes, top: int = 5) -> Any:
            said = self.predictor.recognize(encoded, 4)
            return type(said)(said.labels[::-1], said.scores)

    openers = {"swapped": lambda staged: Swapped(open_predictor(staged))}
    assert "the trained model" in refused(tmp_path, openers=openers)


def test_a_diverged_model(tmp_path: Path) -> None:
    nan = SmallNetwork(bias=float("nan"))
    assert "diverged" in refused(tmp_path, nan, reference=nan.logits)


def test_an_engine_that_cannot_run_it(tmp_path: Path) -> None:
    def fails(staged: Bundle) -> Predictor:
        raise ImageError("empty", "nothing there")

    assert "The engine bad cannot run" in refused(tmp_path, openers={"bad": fails})


def test_nothing_to_check_with_is_no_pass(tmp_path: Path) -> None:
    refused(tmp_path, encoded=[], trained_pixels=PIXELS[:0])
    refused(tmp_path, openers={})


def test_wrong_number_of_scores(tmp_path: Path) -> None:
    message = refused(tmp_path, reference=lambda images: TRAINED.logits(images)[:, :3])
    assert "scores of shape" in message


def test_constant_scores_are_ties_and_pass(tmp_path: Path) -> None:
    flat = TRAINED.but(scale=1e9)
    assert gate(tmp_path, flat, reference=flat.logits)["pictures"] == len(ENCODED)


def test_quick_and_bounded(tmp_path: Path) -> None:
    many, pixels = ENCODED * 20, np.concatenate([PIXELS] * 20)
    gate(tmp_path)
    began = time.monotonic()
    with pytest.raises(GateError):
        gate(tmp_path / "x", TRAINED.but(seed=1), encoded=many, trained_pixels=pixels)
    figures = gate(tmp_path / "y", encoded=many, trained_pixels=pixels, max_pictures=100)
    assert figures["pictures"] == 100
    assert time.monotonic() - began < 8  # two gates; about 1 s on an idle core


def test_variants_decode_to_their_twins() -> None:
    for image in (decode(ENCODED[0]), decode(ENCODED[1])[:3, :1], np.zeros((1, 900, 3), np.uint8)):
        before = image.copy()
        kinds = []
        for variant in picture_variants(image, WANTED):
            np.testing.assert_array_equal(decode(variant.encoded), variant.twin, variant.kind)
            kinds.append(variant.kind)
        assert len(kinds) == len(set(kinds)) == 9
        np.testing.assert_array_equal(image, before)
