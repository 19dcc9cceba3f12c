"""What training fitted is applied by every engine: sets, acceptance, vector scaling."""

from dataclasses import replace

import numpy as np
import pytest

from clearsight.core.calibration import softmax
from clearsight.core.conformal import SET_METHODS
from clearsight.core.errors import BundleError, ConfigError, UsageError
from clearsight.core.rejection import REJECTION_FILE, remember
from clearsight.engines.golden import verify_golden
from clearsight.engines.onnx_file import OnnxFile
from clearsight.engines.open import capabilities, open_predictor
from clearsight.engines.predictor import predictions
from clearsight.learn.bundle_writer import safetensors_bytes
from clearsight.testing.small_network import noise_images

ENGINES = [state.engine for state in capabilities() if state.usable]
IMAGES = noise_images(12, seed=3)


def conformal(method, k=4):
    numbers = {"lac": 0.8, "class-conditional": 0.8, "aps": 0.6, "raps": 0.7}[method]
    wide = k if method == "class-conditional" else 1
    return {
        "method": method,
        "thresholds": {"90": [numbers / 2] * wide, "95": [numbers] * wide},
        "level": 95,
        "penalty": 0.05 if method == "raps" else 0.0,
        "free_ranks": 1 if method == "raps" else 0,
        "n": 200,
    }


def with_features(make_bundle, method, keep=0.5):
    """Return a Bundle that rejects about half of IMAGES by their features."""
    plain = open_predictor(make_bundle(), "onnxruntime")
    vectors = plain.recognized(IMAGES, embeddings=True).embeddings
    memory = remember(method, vectors[:6], np.arange(6) % 2)
    known = memory.familiarity(vectors)
    rejection = {
        "method": method,
        "threshold": float(np.median(known)),
        "keeps": keep,
        "n": 12,
        "file": REJECTION_FILE,
    }
    files = {REJECTION_FILE: safetensors_bytes(memory.arrays)}
    return rejection, files, known


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", SET_METHODS)
def test_every_engine_gives_the_same_sets(make_bundle, engine, method):
    predictor = open_predictor(make_bundle(conformal=conformal(method)), engine)
    shares = predictor.probabilities(IMAGES)
    inside = predictor.manifest.conformal.sets(shares)
    for row, found in zip(inside, predictor.predictions(IMAGES), strict=True):
        named = {predictor.classes[column] for column in np.flatnonzero(row)}
        assert set(found.set) == named
        assert list(found.set) == [label for label in found.labels if label in named]
    assert 0 < inside.mean() < 1, "the threshold tells classes apart"
    short = predictor.predictions(IMAGES[:1], top=1)[0]
    assert len(short.labels) == 1
    assert short.set == predictor.predictions(IMAGES[:1])[0].set, "a set does not depend on top"


def test_without_quantiles_there_is_no_set(make_bundle):
    assert open_predictor(make_bundle(), "onnxruntime").predictions(IMAGES[:1])[0].set is None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["k-nearest", "mahalanobis"])
def test_features_decide_what_is_accepted(make_bundle, engine, method):
    rejection, files, known = with_features(make_bundle, method)
    predictor = open_predictor(
        make_bundle(golden=golden(make_bundle) | files, rejection=rejection), engine
    )
    accepted = [found.accepted for found in predictor.predictions(IMAGES)]
    sure = np.abs(known - rejection["threshold"]) > 1e-3 * np.abs(known).max()
    wanted = known >= rejection["threshold"]
    assert (np.array(accepted)[sure] == wanted[sure]).all()
    assert {True, False} <= set(accepted)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("method", "embed"), [("k-nearest", False), ("", True), ("", False)])
def test_the_model_is_compiled_once_for_all_that_answers_take(
    make_bundle, engine, method, embed, monkeypatch
):
    about, files, wide = {}, golden(make_bundle), method or embed
    if method:
        rejection, more, _ = with_features(make_bundle, method)
        about, files = {"rejection": rejection}, files | more
    bundle = make_bundle(golden=files, **about)
    compiled = []
    select = OnnxFile.select
    monkeypatch.setattr(
        OnnxFile, "select", lambda self, names: compiled.append(tuple(names)) or select(self, names)
    )
    predictor = open_predictor(bundle, engine, embed=embed)
    logits = predictor.logits(IMAGES)
    verify_golden(predictor)
    seen = predictor.recognized(IMAGES, embeddings=embed)
    predictor.predictions(IMAGES[:1])
    assert compiled == [("embedding", "logits") if wide else ("logits",)]
    assert (seen.logits == logits).all()
    assert (seen.embeddings is not None) == bool(wide)


def golden(make_bundle):
    bundle = make_bundle()
    return {name: bundle.read(name) for name in bundle.manifest.files if name.startswith("golden")}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["max-softmax", "energy"])
def test_scores_decide_what_is_accepted(make_bundle, engine, method):
    plain = open_predictor(make_bundle(), "onnxruntime")
    seen = plain.recognized(IMAGES)
    told = {
        "max-softmax": seen.probabilities.max(axis=1),
        "energy": np.log(np.exp(seen.logits.astype(np.float64)).sum(axis=1)),
    }[method]
    threshold = float((np.sort(told)[5] + np.sort(told)[6]) / 2)
    rejection = {"method": method, "threshold": threshold, "keeps": 0.5, "n": 12}
    predictor = open_predictor(make_bundle(rejection=rejection), engine)
    accepted = [found.accepted for found in predictor.predictions(IMAGES)]
    assert accepted == (told >= threshold).tolist()
    for image, one in zip(IMAGES, accepted, strict=True):
        assert predictor.predictions(image[None])[0].accepted == one, "batch of one"


def test_familiarity_that_is_missing_is_no_silent_acceptance(make_bundle):
    rejection = {"method": "energy", "threshold": 0.0, "keeps": 0.5, "n": 12}
    predictor = open_predictor(make_bundle(rejection=rejection), "onnxruntime")
    row = predictor.probabilities(IMAGES[:1])[0]
    with pytest.raises(UsageError, match="rejects unknown pictures by energy"):
        predictor.prediction(row)
    assert predictor.prediction(row, familiarity=1.0).accepted
    assert not predictor.prediction(row, familiarity=-1.0).accepted
    assert predictions(predictor, IMAGES[:1])[0].labels == predictor.prediction(row, 5, 1.0).labels


def test_vector_scaling_is_applied_after_the_temperature(make_bundle):
    vector = {"weights": [1.0, 2.0, 0.5, 1.0], "biases": [0.0, 1.0, 0.0, -1.0]}
    plain = open_predictor(make_bundle(), "onnxruntime")
    predictor = open_predictor(make_bundle(vector=vector), "onnxruntime")
    scaled = plain.logits(IMAGES).astype(np.float64) / 2.0 * vector["weights"] + vector["biases"]
    np.testing.assert_allclose(predictor.probabilities(IMAGES), softmax(scaled), atol=1e-6)
    assert np.abs(plain.probabilities(IMAGES) - softmax(scaled)).max() > 0.01


@pytest.mark.parametrize(
    "about",
    [
        {"vector": {"weights": [1.0] * 3, "biases": [0.0] * 3}},
        {"vector": {"weights": [1.0] * 4, "biases": [0.0] * 3}},
        {"vector": {"weights": [-1.0] * 4, "biases": [0.0] * 4}},
        {"conformal": conformal("class-conditional", k=3)},
        {"conformal": conformal("lac"), "task": "multi-label"},
    ],
)
def test_what_does_not_fit_the_classes_is_refused(make_bundle, about):
    with pytest.raises(ConfigError):
        make_bundle(**about)


def test_features_that_do_not_fit_the_model_are_refused(make_bundle):
    rejection, files, _ = with_features(make_bundle, "k-nearest")
    broken = {REJECTION_FILE: safetensors_bytes({"bank": np.ones((6, 3), np.float32)})}
    kept = golden(make_bundle)
    predictor = open_predictor(
        make_bundle(golden=kept | broken, rejection=rejection), "onnxruntime"
    )
    with pytest.raises(BundleError, match="rejection knows 3"):
        predictor.predictions(IMAGES)
    for content in (b"", b"not a safetensors file", files[REJECTION_FILE][:-4]):
        bundle = make_bundle(golden=kept | {REJECTION_FILE: content}, rejection=rejection)
        with pytest.raises(BundleError):
            open_predictor(bundle, "onnxruntime")
    with pytest.raises(BundleError, match="holds no"):
        open_predictor(make_bundle(rejection=rejection), "onnxruntime")


def test_a_changed_feature_file_is_found(make_bundle):
    rejection, files, _ = with_features(make_bundle, "k-nearest")
    bundle = make_bundle(golden=golden(make_bundle) | files, rejection=rejection)
    file = bundle.path / REJECTION_FILE
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(BundleError):
        open_predictor(bundle.path, "onnxruntime")


def test_a_prediction_compares_by_its_set(make_bundle):
    predictor = open_predictor(make_bundle(conformal=conformal("lac")), "onnxruntime")
    found = predictor.predictions(IMAGES[:1])[0]
    assert replace(found, set=()) != found
