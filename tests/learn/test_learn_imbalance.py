"""Uneven classes: detection, the remedy, and what is told of it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from clearsight.core.calibration import softmax
from clearsight.core.progress import Silent
from clearsight.engines.open import open_session
from clearsight.learn.family import Facts, Fitted
from clearsight.learn.imbalance import (
    Imbalance,
    Remedy,
    balanced_accuracy,
    find_remedy,
    say_imbalance,
)
from clearsight.learn.logit_adjustment import OFFSETS, Adjusted, fit_prior_strength, with_offsets
from clearsight.learn.training import Choice, Training
from clearsight.testing.small_network import OUTPUTS, SmallNetwork

SHARES = np.array([0.80, 0.15, 0.04, 0.01])
CLASSES = ("a", "b", "c", "d")


def pictures(shares, n, seed):
    """Return labels and the scores of somebody who knows the densities and the training shares."""
    random = np.random.default_rng(seed)
    labels = random.choice(4, n, p=shares)
    seen = np.eye(4)[labels] * 1.5 + random.normal(size=(n, 4))
    densities = -((seen[:, None, :] - 1.5 * np.eye(4)) ** 2).sum(2) / 2
    return labels, densities.astype(np.float32), (densities + np.log(SHARES)).astype(np.float32)


class Recorder(Silent):
    def __init__(self):
        self.said = []

    def say(self, message, **facts):
        self.said.append((message, facts))


def facts(counts, **more):
    names = tuple(f"c{number}" for number in range(len(counts)))
    return Facts(names, counts, 8, 8, grey=True, **more)


@pytest.mark.parametrize(
    ("counts", "strong"),
    [
        ((100, 100, 100), False),
        ((300, 100), False),
        ((6000, 60), True),
        ((10, 1), False),  # ten to one, but one picture more would make it five to one
        ((1000, 100), True),
        ((50, 0), False),  # a class without pictures is another matter
        ((0, 0), False),
        ((), False),
    ],
)
def test_something_is_done_when_the_ratio_is_surely_large(counts, strong):
    assert Imbalance(counts).strong == strong
    assert (find_remedy(facts(counts), "auto") is not None) == strong


def test_even_draws_are_hardly_ever_called_uneven():
    random = np.random.default_rng(0)
    draws = [random.multinomial(20 * k, np.full(k, 1 / k)) for k in (2, 10, 100) for _ in range(99)]
    assert not any(Imbalance(tuple(counts.tolist())).strong for counts in draws)


def test_off_and_other_tasks_are_left_alone_and_that_is_said():
    uneven = (6000, 60)
    for setting, task, word in (
        ("off", "single-label", "as asked for"),
        ("auto", "multi-label", "multi-label"),
        ("auto", "single-label", "count alike"),
    ):
        recorder = Recorder()
        found = facts(uneven, task=task)
        say_imbalance(found, setting, recorder)
        ((message, told),) = recorder.said
        assert "100 times" in message
        assert word in told["plan"]
        assert (find_remedy(found, setting) is None) == ("left" in told["plan"])
    recorder = Recorder()
    say_imbalance(facts((60, 60)), "auto", recorder)
    assert recorder.said == []


def test_effective_classes_and_rarest():
    assert Imbalance((7,) * 10).effective_classes == pytest.approx(10)
    assert Imbalance((1000, 1)).effective_classes < 1.02
    assert Imbalance((5, 0, 9, 1, 7, 3)).rarest().tolist() == [3, 5]


def test_networks_take_the_loss_unless_one_was_chosen():
    remedy = Remedy(Imbalance((6000, 60)), ("a", "b"))
    assert remedy.training(Training(), gradients=True).loss == Choice(name="logit-adjusted")
    assert remedy.training(Training(), gradients=False) == Training()
    for asked in (Training(loss=Choice(name="focal")), Training(sampler=Choice(name="balanced"))):
        assert remedy.training(asked, gradients=True) == asked


@pytest.mark.parametrize("expected", [1.0, 0.0])
def test_the_strength_of_the_prior_is_found(expected):
    """Scores with and without the shares, and both too sure of themselves by half."""
    labels, even, uneven = pictures(SHARES, 20_000, seed=0)
    scores = 1.5 * (uneven if expected else even)
    temperature, strength = fit_prior_strength(scores, labels, np.log(SHARES), expected)
    assert temperature == pytest.approx(1.5, rel=0.1)
    assert strength == pytest.approx(expected, abs=0.1)


def test_a_few_pictures_do_not_pull_it_far_from_what_theory_expects():
    found = []
    for seed in range(20):
        labels, _, uneven = pictures(SHARES, 60, seed)
        found.append(fit_prior_strength(uneven, labels, np.log(SHARES), 1.0)[1])
    assert np.abs(np.array(found) - 1).max() < 0.6


def test_pictures_that_are_all_right_ask_for_no_infinity():
    scores = 10 * np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 2, 3]]
    temperature, strength = fit_prior_strength(
        scores, np.array([0, 0, 0, 1, 2, 3]), np.log(SHARES), 1.0
    )
    assert 0.05 <= temperature <= 20
    assert -1 <= strength <= 3


def planted(seed=0, n=4000):
    """Return a remedy, a model that learnt the shares, and its scores on validation and test."""
    counts = tuple((SHARES * 10_000).astype(int).tolist())
    labels, _, scores = pictures(SHARES, n, seed)
    test_labels, _, test = pictures(np.full(4, 0.25), 4000, seed + 1)
    model = SimpleNamespace(story={"epochs": 3}, outputs=("logits",), licences=(), steps=False)
    return Remedy(Imbalance(counts), CLASSES), model, (scores, labels), (test, test_labels)


def test_taking_the_shares_out_helps_the_rarest_on_pictures_never_seen():
    remedy, model, val, test = planted()
    recorder = Recorder()
    fitted, logits, temperature = remedy.apply(model, *val, Training(), recorder)
    before = balanced_accuracy(*test)
    after = balanced_accuracy(test[0] + fitted.offsets, test[1])
    assert after > before + 0.1
    told = fitted.story["imbalance"]
    json.dumps(told)
    assert fitted.story["epochs"] == 3
    assert told["rarest"]["classes"] == {"d": 100}
    assert told["rarest"]["val"] == int((val[1] == 3).sum())
    assert told["rarest"]["recall"]["after"] > told["rarest"]["recall"]["before"] + 0.2
    assert told["balanced_accuracy"]["before"] == pytest.approx(balanced_accuracy(*val))
    assert told["balanced_accuracy"]["after"] == pytest.approx(balanced_accuracy(logits, val[1]))
    assert told["even_classes"]
    assert "Rarest classes" in recorder.said[0][0]
    rows = softmax(test[0] + fitted.offsets, temperature)  # probabilities for even classes
    sure = float(rows.max(1).mean())
    assert sure == pytest.approx(float((rows.argmax(1) == test[1]).mean()), abs=0.03)


def test_what_makes_validation_worse_is_not_done():
    remedy, model, (_, labels), _ = planted()
    perfect = (9 * np.eye(4, dtype=np.float32))[labels]
    perfect[:5] = 0.0  # ties, which any offset decides for a rare class
    labels[:5] = 0
    fitted, logits, _ = remedy.apply(model, perfect, labels, Training(), Silent())
    assert not fitted.offsets.any()
    assert np.array_equal(logits, perfect)
    assert fitted.story["imbalance"]["strength"] == 0
    assert not fitted.story["imbalance"]["even_classes"]


def test_a_model_trained_for_even_classes_is_compared_with_the_shares_put_back():
    pytest.importorskip("torch")
    remedy, model, (scores, labels), _ = planted()
    even = (scores - np.log(SHARES)).astype(np.float32)
    chosen = remedy.training(Training(), gradients=True)
    told = remedy.apply(model, even, labels, chosen, Silent())[0].story["imbalance"]
    assert told["loss"] == "logit-adjusted"
    assert abs(told["strength"]) < 0.3
    assert told["accuracy"]["before"] == pytest.approx(
        float((scores.argmax(1) == labels).mean()), abs=0.005
    )
    assert told["rarest"]["recall"]["after"] > told["rarest"]["recall"]["before"]


def test_a_chosen_loss_is_compared_as_it_came():
    pytest.importorskip("torch")
    remedy, model, (scores, labels), _ = planted()
    chosen = Training(loss=Choice(name="ldam"))
    told = remedy.apply(model, scores, labels, chosen, Silent())[0].story["imbalance"]
    assert told["without"].startswith("the scores as they came")
    assert told["balanced_accuracy"]["before"] == balanced_accuracy(scores, labels)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_offsets_are_part_of_the_exported_model(engine):
    network = SmallNetwork()
    offsets = np.array([1.5, -2.0, 0.25, 0.0], np.float32)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    plain, changed = (
        open_session(model, engine).run(images, OUTPUTS)
        for model in (network.onnx_model(), with_offsets(network.onnx_model(), offsets))
    )
    assert np.abs(changed["logits"] - (plain["logits"] + offsets)).max() < 1e-5
    for name in ("embedding", "features"):
        assert np.abs(changed[name] - plain[name]).max() < 1e-6


def test_an_adjusted_model_is_a_fitted_one():
    model = SimpleNamespace(
        story={},
        outputs=("logits", "embedding"),
        licences=(),
        steps=False,
        logits=lambda images: np.zeros((len(images), 2), np.float32),
        onnx_model=lambda: b"unchanged",
        weights=lambda: {"w": np.ones(2)},
    )
    offsets = np.array([0.5, -0.5], np.float32)
    adjusted = Adjusted(model, offsets, {"imbalance": {}})
    assert isinstance(adjusted, Fitted)
    assert adjusted.outputs == ("logits", "embedding")
    assert adjusted.logits(np.zeros((3, 1))).tolist() == [[0.5, -0.5]] * 3
    assert np.array_equal(adjusted.weights()[OFFSETS], offsets)
    assert Adjusted(model, np.zeros(2, np.float32), {}).onnx_model() == b"unchanged"
