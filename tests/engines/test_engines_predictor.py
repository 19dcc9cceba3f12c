from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from clearsight.core.bundle import Bundle
from clearsight.core.calibration import softmax
from clearsight.core.errors import BundleError, ImageError, UsageError
from clearsight.core.nouns import ImageHWC, Predictor
from clearsight.engines.open import open_predictor
from clearsight.engines.session import ENGINES
from clearsight.testing.small_network import SmallNetwork, noise_images

MakeBundle = Callable[..., Bundle]
CLASSES = ("ant", "bee", "猫", "🐕")


def png(image: ImageHWC) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("engine", ENGINES.keys())
def test_from_bytes_to_label(make_bundle: MakeBundle, engine: str) -> None:
    predictor = open_predictor(make_bundle(), engine)
    assert isinstance(predictor, Predictor)
    assert predictor.engine == engine
    image = noise_images(1)[0]
    np.testing.assert_array_equal(predictor.prepare(png(image)), image)
    wanted = softmax(SmallNetwork().logits(image[None]), 2.0)[0]
    said = predictor.recognize(png(image), top=3)
    order = np.argsort(-wanted)[:3]
    assert said.labels == tuple(CLASSES[index] for index in order)
    assert said.scores == pytest.approx(wanted[order], abs=1e-5)
    assert said.accepted


@pytest.mark.parametrize(("threshold", "accepted"), [(0.0, True), (1.0, False), (None, True)])
def test_rejection(make_bundle: MakeBundle, threshold: float | None, accepted: bool) -> None:
    predictor = open_predictor(make_bundle(rejection_threshold=threshold), "onnxruntime")
    assert predictor.recognize(png(noise_images(1)[0])).accepted is accepted


def test_top_is_bounded_by_the_classes(make_bundle: MakeBundle) -> None:
    predictor = open_predictor(make_bundle(), "onnxruntime")
    encoded = png(noise_images(1)[0])
    assert [len(predictor.recognize(encoded, top).labels) for top in (0, 1, 4, 99)] == [1, 1, 4, 4]


def test_other_outputs(make_bundle: MakeBundle) -> None:
    predictor = open_predictor(make_bundle(), "onnxruntime")
    images = noise_images(3)
    found = predictor.outputs(images, ("embedding", "logits"))
    np.testing.assert_allclose(
        found["embedding"], SmallNetwork().outputs(images)["embedding"], atol=1e-5
    )
    with pytest.raises(UsageError):
        predictor.outputs(images, ("nothing",))
    with pytest.raises(UsageError):
        predictor.logits(images.astype(np.float64))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ENGINES.keys())
@pytest.mark.parametrize("bias", [float("nan"), float("inf")])
def test_nan_is_an_error_and_never_a_label(
    make_bundle: MakeBundle, engine: str, bias: float
) -> None:
    predictor = open_predictor(make_bundle(SmallNetwork(bias=bias)), engine)
    for call in (
        lambda: predictor.logits(noise_images(1)),
        lambda: predictor.probabilities(noise_images(5)),
        lambda: predictor.recognize(png(noise_images(1)[0])),
    ):
        with pytest.raises(BundleError, match="NaN or infinity"):
            call()


def test_more_classes_than_scores(make_bundle: MakeBundle) -> None:
    predictor = open_predictor(make_bundle(classes=("a", "b", "c", "d", "e")), "onnxruntime")
    with pytest.raises(BundleError, match="5 classes"):
        predictor.logits(noise_images(1))


def test_bad_pictures_are_typed(make_bundle: MakeBundle) -> None:
    predictor = open_predictor(make_bundle(), "onnxruntime")
    for encoded in (b"", b"text", png(noise_images(1)[0])[:40]):
        with pytest.raises(ImageError):
            predictor.recognize(encoded)
