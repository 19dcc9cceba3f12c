"""classical learns, exports what it learnt, resumes, keeps its deadline and needs no torch."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from clearsight.core.errors import ConfigError, UsageError
from clearsight.core.nouns import Preprocessing
from clearsight.core.progress import Silent
from clearsight.engines.open import open_session
from clearsight.learn.contest import build_family, named
from clearsight.learn.families.classical import Classical
from clearsight.learn.family import Budget, Facts, Job


def digits() -> tuple[np.ndarray, np.ndarray]:
    """8x8 digits enlarged to 24x24."""
    loaded = load_digits()
    images = (loaded.images * (255 / 16)).astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)
    return images[..., None], loaded.target.astype(np.int64)


IMAGES, LABELS = digits()
ONE_STRENGTH = {"linear-svm": {"strengths": [0.1]}}
TRAIN, VAL, TEST = slice(0, 600), slice(600, 900), slice(900, 1797)


class Listening(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, event: str, **fields: object) -> None:
        self.said.append(f"{event} {fields}")


def job(work: Path, **changes: Any) -> Job:
    return replace(
        Job(
            train_images=IMAGES[TRAIN],
            train_labels=LABELS[TRAIN],
            val_images=IMAGES[VAL],
            val_labels=LABELS[VAL],
            classes=tuple("0123456789"),
            preprocessing=Preprocessing(height=24, width=24, channels=1),
            seed=1,
            budget=Budget(epochs=1),
            work=work,
            open_model=lambda model: open_session(model, "onnxruntime"),
        ),
        **changes,
    )


def facts(height: int, width: int, grey: bool = False) -> Facts:
    return Facts(("a", "b"), (10, 10), height, width, grey)


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [
        (28, 28, (28, 28)),
        (8, 8, (24, 24)),
        (300, 400, (72, 96)),
        (64, 64, (64, 64)),
        (9, 900, (16, 96)),
    ],
)
def test_input_is_whole_cells_near_the_pictures_shape(
    height: int, width: int, wanted: tuple[int, int]
) -> None:
    size = Classical(Classical.Config()).preprocessing(facts(height, width))
    assert (size.height, size.width, size.channels) == (*wanted, 3)


def test_it_learns_digits_and_the_export_says_the_same(tmp_path: Path) -> None:
    fitted = Classical(Classical.Config()).fit(job(tmp_path))
    logits = fitted.logits(IMAGES[TEST])
    assert (logits.argmax(axis=1) == LABELS[TEST]).mean() > 0.93
    for engine in ("onnxruntime", "openvino"):
        session = open_session(fitted.onnx_model(), engine)
        assert session.outputs == fitted.outputs == ("logits", "embedding")
        got = session.run(IMAGES[TEST][:100])["logits"]
        np.testing.assert_allclose(got, logits[:100], atol=1e-3)
    assert fitted.weights()["head.weight"].shape[1] == 10
    assert fitted.licences == ()


def test_wrong_labels_are_not_learnt(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(LABELS[TRAIN])
    fitted = Classical(Classical.Config()).fit(job(tmp_path, train_labels=shuffled))
    assert (fitted.logits(IMAGES[TEST]).argmax(axis=1) == LABELS[TEST]).mean() < 0.3


def test_the_same_job_gives_the_same_weights_and_reuses_features(tmp_path: Path) -> None:
    family = Classical(Classical.Config(options=ONE_STRENGTH))
    first = family.fit(job(tmp_path / "a"))
    fresh = family.fit(job(tmp_path / "b"))
    listening = Listening()
    resumed = family.fit(job(tmp_path / "a", progress=listening))
    for other in (fresh, resumed):
        np.testing.assert_array_equal(
            first.weights()["head.weight"], other.weights()["head.weight"]
        )


def test_a_past_deadline_ends_soon_with_a_usable_machine(tmp_path: Path) -> None:
    began = time.monotonic()
    fitted = Classical(Classical.Config()).fit(job(tmp_path, budget=Budget(deadline=began)))
    assert len(fitted.story["fits"]) == 1
    assert (fitted.logits(IMAGES[TEST]).argmax(axis=1) == LABELS[TEST]).mean() > 0.3


def test_too_little_memory_is_said(tmp_path: Path) -> None:
    listening = Listening()
    config = Classical.Config(memory_bytes=2**20, options=ONE_STRENGTH)
    fitted = Classical(config).fit(job(tmp_path, progress=listening))
    assert fitted.story["pictures_used"] < 600
    assert any("uses" in text and "of 600" in text for text in listening.said)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="features"):
        Classical.Config.parse({"feature": ["hog"]})
    with pytest.raises(ConfigError, match="orientations"):
        Classical(Classical.Config(options={"hog": {"orientation": 9}}))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("hog", {"features": ["hog"]}),
        ("sift+logistic", {"features": ["sift"], "head": "logistic"}),
        ("sift+colour+vlad", {"features": ["sift", "colour"], "encoder": "vlad"}),
        ("surf+bovw+linear-svm", {"features": ["surf"], "encoder": "bovw", "head": "linear-svm"}),
    ],
)
def test_a_name_is_its_parts(name: str, config: dict[str, Any]) -> None:
    candidate = named(name, {"side": 32})
    assert candidate.key == "classical"
    assert candidate.config == {"side": 32, **config}
    build_family(candidate)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("sift+linearsvm", {}, ["linearsvm", "linear-svm"]),
        ("sfit+linear-svm", {}, ["sfit", "'sift'"]),
        ("linear-svm+sift", {}, ["'sift' stands in the wrong place"]),
        ("bovw+linear-svm", {}, ["names no descriptor"]),
        ("sift+logistic+linear-svm", {}, ["wrong place"]),
        ("sift+linear-svm", {"head": "logistic"}, ["decides the head", "--model classical"]),
        ("hog+sift+hog", {}, ["hog"]),
        ("hog+bovw", {}, ["bovw", "whole-picture"]),
        ("hog", {"options": {"sift": {}}}, ["'sift'", "not used"]),
        ("sift", {"options": {"sift": {"stepp": 2}}}, ["family.options.sift", "'step'"]),
    ],
)
def test_a_wrong_name_or_option_is_refused(
    name: str, config: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        build_family(named(name, config))
    for word in words:
        assert word in str(caught.value)


def test_the_old_name_leads_to_the_new_one() -> None:
    with pytest.raises(UsageError, match=r"'hog\+linear-svm'"):
        named("hog-svm", {})


SMALL_BAG = {"bovw": {"words": 32}, "vlad": {"words": 8}, **ONE_STRENGTH}


@pytest.mark.parametrize(
    ("features", "encoder", "least"),
    [(("sift", "colour"), None, 0.9), (("surf",), "bovw", 0.8), (("sift",), "vlad", 0.9)],
)
def test_local_features_are_learnt_and_exported(
    tmp_path: Path, features: tuple[str, ...], encoder: str | None, least: float
) -> None:
    options = {key: SMALL_BAG[key] for key in (encoder or "bovw", "linear-svm")}
    config = Classical.Config(features=features, encoder=encoder, options=options)
    fitted = Classical(config).fit(job(tmp_path))
    logits = fitted.logits(IMAGES[TEST])
    assert (logits.argmax(axis=1) == LABELS[TEST]).mean() > least
    assert fitted.weights()[f"{features[0]}.words"].dtype == np.float32
    for engine in ("onnxruntime", "openvino"):
        got = open_session(fitted.onnx_model(), engine).run(IMAGES[TEST][:50])["logits"]
        np.testing.assert_allclose(got, logits[:50], atol=1e-3)


def test_codebooks_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    config = Classical.Config(features=("sift",), options={"bovw": {"words": 16}, **ONE_STRENGTH})
    first, second = (Classical(config).fit(job(tmp_path / name)).weights() for name in "ab")
    assert set(first) == set(second)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_pictures_are_left_out_when_time_is_short_and_that_is_said(tmp_path: Path) -> None:
    listening = Listening()
    many = job(
        tmp_path,
        train_images=np.repeat(IMAGES[TRAIN], 20, axis=0),
        train_labels=np.repeat(LABELS[TRAIN], 20),
        budget=Budget(deadline=time.monotonic() + 0.5),
        progress=listening,
    )
    fitted = Classical(Classical.Config(features=("sift",))).fit(many)
    assert 200 <= fitted.story["pictures_used"] < 12_000
    assert any("of 12000" in text and "too little time" in text for text in listening.said)


def test_it_needs_no_torch() -> None:
    program = (
        "import sys; import clearsight.learn.families.classical; "
        "assert not {'torch', 'timm', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
