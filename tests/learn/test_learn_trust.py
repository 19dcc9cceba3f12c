"""Training fits calibration, sets and rejection on validation, and says what it could not fit."""

import time

import numpy as np
import pytest

from clearsight.core.calibration import fit_temperature, probabilities
from clearsight.core.errors import ConfigError, DataError
from clearsight.core.rejection import REJECTION_METHODS
from clearsight.learn.outliers import make_outliers
from clearsight.learn.rejection import HELD_OUT, Evidence, fit_rejection
from clearsight.learn.trust_settings import TrustSettings, check_trust
from clearsight.learn.vector_scaling import fit_vector_scaling, try_vector_scaling

K = 4


def scored(n, seed, spread=1.0):
    """Return logits that are the log of the true class probabilities, and labels."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2.0, (n, K)) * spread
    shares = probabilities(logits)
    labels = (shares.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(0, K - 1)
    return logits.astype(np.float32), labels


def log_loss(shares, labels):
    return float(-np.log(np.maximum(shares[np.arange(len(labels)), labels], 1e-7)).mean())


def distorted(n, seed):
    """Return logits with another slope and offset for each class than the truth asks for."""
    logits, labels = scored(n, seed)
    return ((logits - (1.0, -0.5, 0.0, 2.0)) / (0.5, 1.0, 2.0, 1.0)).astype(np.float32), labels


def test_vector_scaling_mends_what_one_temperature_cannot():
    trial = try_vector_scaling(*distorted(3000, 1))
    assert trial.pays
    logits, labels = distorted(3000, 1)
    temperature = fit_temperature(logits, labels)
    vector = fit_vector_scaling(logits, labels, temperature)
    new, truth = distorted(5000, 2)
    before = log_loss(probabilities(new, temperature), truth)
    after = log_loss(probabilities(new, temperature, vector=vector), truth)
    best = log_loss(probabilities(scored(5000, 2)[0]), truth)
    assert after < before - 0.05
    assert after < best + 0.01, "as good as the scores that the distorted ones came from"


def test_vector_scaling_is_what_scikit_learn_finds():
    """Multinomial logistic regression on one score a class at a time has the same minimum."""
    optimize = pytest.importorskip("scipy.optimize")
    logits, labels = distorted(500, 3)
    temperature = fit_temperature(logits, labels)
    vector = fit_vector_scaling(logits, labels, temperature)
    scores = logits.astype(np.float64) / temperature

    def penalised(parameters):
        shares = probabilities(scores * parameters[:K] + parameters[K:]).astype(np.float64)
        away = parameters - np.r_[np.ones(K), np.zeros(K)]
        own = np.log(np.maximum(shares[np.arange(500), labels], 1e-12)).sum()
        return (-own + away @ away / 2) / 500

    found = np.r_[vector.weights, vector.biases]
    start = np.r_[np.ones(K), np.zeros(K)]
    again = optimize.minimize(penalised, start, method="Powell", options={"maxiter": 20_000})
    assert penalised(found) <= again.fun + 1e-4


def test_one_temperature_stays_where_it_is_enough():
    assert not try_vector_scaling(*scored(2000, 4)).pays


def test_a_class_with_few_pictures_gets_no_factor_of_its_own():
    logits, labels = scored(400, 5)
    labels[labels == 2] = 1
    assert try_vector_scaling(logits, labels) is None


def test_outliers_show_none_of_the_pictures_and_keep_their_form():
    images = np.random.default_rng(0).integers(0, 255, (20, 30, 41, 3), dtype=np.uint8)
    before = images.copy()
    made = make_outliers(images, 8)
    assert set(made) == {"noise", "shuffled", "halves", "strokes"}
    for kind, pictures in made.items():
        assert pictures.shape == (8, 30, 41, 3), kind
        assert pictures.dtype == np.uint8
        different = [np.abs(images.astype(int) - one).max(axis=(1, 2, 3)).min() for one in pictures]
        assert min(different) > 0, kind
    np.testing.assert_array_equal(images, before)
    again = make_outliers(images, 8)
    assert all((made[kind] == again[kind]).all() for kind in made), "the same seed, the same ones"


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (2, 3, 50, 1), (3, 224, 16, 3)])
def test_outliers_of_odd_pictures(shape):
    images = np.full(shape, 7, np.uint8)
    assert all(made.shape == (3, *shape[1:]) for made in make_outliers(images, 3).values())


class Runner:
    """Embeds a picture as its mean colours and corners; slow where asked."""

    def __init__(self, pause_s=0.0):
        self.pause_s, self.pictures = pause_s, 0

    def run(self, images, outputs=("logits",)):
        self.pictures += len(images)
        time.sleep(self.pause_s)
        seen = images.astype(np.float32) / 255
        parts = np.concatenate(
            [seen.mean(axis=(1, 2)), seen[:, ::4, ::4].reshape(len(seen), -1)], 1
        )
        logits = parts[:, :K] * 8
        return {"logits": logits, "embedding": parts}


def evidence(n=300, time_s=None, features=True, runner=None):
    generator = np.random.default_rng(7)
    labels = generator.integers(0, K, n)
    images = np.full((n, 12, 12, 3), 40, np.uint8)
    for row, label in enumerate(labels):
        images[row, label * 3 : label * 3 + 3] = 200
    images += generator.integers(0, 20, images.shape, dtype=np.uint8)
    runner = runner or Runner()
    logits = np.eye(K, dtype=np.float32)[labels] * 6 + generator.normal(0, 1, (n, K))
    return Evidence(
        logits=logits.astype(np.float32),
        labels=labels,
        images=images,
        temperature=1.0,
        vector=None,
        train_images=images[::-1],
        train_labels=labels[::-1],
        model=b"",
        open_model=lambda model: runner,
        features=features,
        time_s=time_s,
    )


def test_every_way_is_tried_and_one_is_taken():
    fitted, arrays = fit_rejection(evidence(), TrustSettings())
    assert set(fitted.tried) == set(REJECTION_METHODS)
    for found in fitted.tried.values():
        assert set(found) == {"noise", "shuffled", "halves", "strokes", HELD_OUT}
        assert all(0 <= value <= 1 for value in found.values())
    assert bool(arrays) == (fitted.file is not None)
    merit = {
        method: (np.mean([v for k, v in found.items() if k != HELD_OUT]) + found[HELD_OUT]) / 2
        for method, found in fitted.tried.items()
    }
    assert merit[fitted.method] >= max(merit.values()) - 0.03


@pytest.mark.parametrize("method", REJECTION_METHODS)
def test_a_way_can_be_asked_for(method):
    settings = TrustSettings(rejection=method, keep=0.9)
    fitted, arrays = fit_rejection(evidence(), settings)
    assert (fitted.method, fitted.keeps) == (method, 0.9)
    assert set(fitted.tried) == {method}
    assert bool(arrays) == fitted.needs_features


def test_without_features_scores_decide():
    fitted, arrays = fit_rejection(evidence(features=False), TrustSettings())
    assert set(fitted.tried) == {"max-softmax", "energy"}
    assert arrays == {}


def test_a_short_training_looks_at_no_made_up_pictures():
    runner = Runner()
    fitted, _ = fit_rejection(evidence(time_s=10.0, runner=runner), TrustSettings())
    assert runner.pictures == 0
    assert set(fitted.tried["energy"]) == {HELD_OUT}


def test_looking_takes_a_fiftieth_of_the_time():
    runner = Runner(pause_s=0.05)
    began = time.monotonic()
    fitted, _ = fit_rejection(evidence(time_s=30.0, runner=runner), TrustSettings())
    assert runner.pictures <= 16 * 16
    assert time.monotonic() - began < 10
    assert set(fitted.tried) == {"max-softmax", "energy"}, "no time for features"


def test_too_few_pictures_are_refused_in_words():
    with pytest.raises(DataError, match="at least 100 validation pictures, got 99"):
        fit_rejection(evidence(99), TrustSettings())
    with pytest.raises(DataError, match="needs features"):
        fit_rejection(evidence(features=False), TrustSettings(rejection="k-nearest"))


@pytest.mark.parametrize(
    ("settings", "task", "features"),
    [
        ({"sets": "aps"}, "multi-label", True),
        ({"rejection": "energy"}, "multi-label", True),
        ({"calibration": "vector"}, "multi-label", True),
        ({"level": 90}, "multi-label", True),
        ({"sets": "off", "level": 90}, "single-label", True),
        ({"rejection": "off", "keep": 0.9}, "single-label", True),
        ({"rejection": "k-nearest"}, "single-label", False),
    ],
)
def test_options_without_effect_are_refused(settings, task, features):
    with pytest.raises(ConfigError):
        check_trust(TrustSettings.parse(settings), task, features)


def test_options_that_do_something_pass():
    check_trust(TrustSettings(), "multi-label", features=False)
    check_trust(TrustSettings(sets="off", rejection="off"), "multi-label", features=False)
    check_trust(TrustSettings(rejection="k-nearest", keep=0.9), "ordinal", features=True)
    with pytest.raises(ConfigError, match="energy"):
        TrustSettings.parse({"rejection": "enery"})
