from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from clearsight.core.bundle import GOLDEN_SCORES, Bundle
from clearsight.core.errors import BundleError
from clearsight.engines.golden import verify_golden
from clearsight.engines.open import open_predictor
from clearsight.engines.session import ENGINES
from clearsight.learn.golden import golden_files
from clearsight.testing.small_network import SmallNetwork, noise_images

MakeBundle = Callable[..., Bundle]


@pytest.mark.parametrize("engine", ENGINES.keys())
def test_the_scores_of_training_are_reproduced(make_bundle: MakeBundle, engine: str) -> None:
    assert verify_golden(open_predictor(make_bundle(), engine)) < 1e-4


def test_another_model_is_found_out(make_bundle: MakeBundle) -> None:
    predictor = open_predictor(make_bundle(SmallNetwork(mean=100)), "onnxruntime")
    with pytest.raises(BundleError, match="other scores than were recorded"):
        verify_golden(predictor)


def test_golden_pictures_are_lossless(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    predictor = open_predictor(bundle, "onnxruntime")
    for number, image in enumerate(noise_images(4, seed=9)):
        np.testing.assert_array_equal(predictor.prepare(bundle.read(f"golden/{number}.png")), image)


def test_grey_golden_pictures_are_lossless() -> None:
    import cv2

    grey = noise_images(1)[..., :1]
    files = golden_files(grey, np.zeros((1, 2), dtype=np.float32))
    stored = cv2.imdecode(np.frombuffer(files["golden/0.png"], np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, grey[0, :, :, 0])


@pytest.mark.parametrize(
    "scores",
    [
        b"{",
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps({"images": [], "logits": []}).encode(),
        json.dumps({"images": ["golden/0.png"], "logits": [[1, 2]]}).encode(),
        json.dumps({"images": ["golden/0.png"], "logits": [["a", "b", "c", "d"]]}).encode(),
        json.dumps({"images": ["../../x"], "logits": [[1, 2, 3, 4]]}).encode(),
    ],
)
def test_damaged_scores_are_typed(make_bundle: MakeBundle, scores: bytes) -> None:
    golden = golden_files(noise_images(1), np.zeros((1, 4), dtype=np.float32))
    bundle = make_bundle(golden={**golden, GOLDEN_SCORES: scores})
    with pytest.raises(BundleError):
        verify_golden(open_predictor(bundle, "onnxruntime"))


def test_no_golden_pictures(make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match=r"holds no 'golden/scores\.json'"):
        verify_golden(open_predictor(make_bundle(golden={}), "onnxruntime"))
