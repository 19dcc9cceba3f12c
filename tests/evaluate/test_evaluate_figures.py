import time

import numpy as np
import pytest

from clearsight.core.errors import DataError
from clearsight.evaluate.figures import METRICS, figures, judge
from clearsight.evaluate.intervals import bootstrap, wilson
from clearsight.evaluate.reliability import reliability, untempered
from clearsight.evaluate.scored import Scored
from clearsight.testing.metric_contract import drawn


@pytest.mark.parametrize(
    ("key", "name", "options"),
    [
        ("accuracy", "accuracy_score", {}),
        ("balanced-accuracy", "balanced_accuracy_score", {}),
        ("macro-f1", "f1_score", {"average": "macro"}),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn_on_labels(key, name, options, seed):
    metrics = pytest.importorskip("sklearn.metrics")
    scored = drawn(120, 7, seed)
    expected = getattr(metrics, name)(scored.labels, scored.predicted, **options)
    assert METRICS.load(key)(scored) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn_on_probabilities(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    scored = drawn(300, 5, seed)
    rows = scored.probabilities.astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    expected = metrics.log_loss(scored.labels, rows, labels=range(5))
    assert METRICS.load("log-loss")(scored) == pytest.approx(expected, rel=1e-4)
    onehot = np.eye(5)[scored.labels]
    assert METRICS.load("brier")(scored) == pytest.approx(
        ((rows - onehot) ** 2).sum(axis=1).mean(), rel=1e-5
    )


def test_per_class_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    scored = drawn(300, 4, 1)
    names = ("a", "b", "c", "d")
    found = figures(scored, names)
    expected = metrics.classification_report(
        scored.labels, scored.predicted, target_names=names, output_dict=True
    )
    for name in names:
        score = found.per_class[name]
        assert (score.precision, score.recall, score.f1, score.n) == pytest.approx(
            tuple(expected[name][k] for k in ("precision", "recall", "f1-score", "support"))
        )
    matrix = metrics.confusion_matrix(scored.labels, scored.predicted)
    assert found.confusion.tolist() == matrix.tolist()


def test_wilson_agrees_with_statsmodels_figures_and_covers():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 20)[0] == 0.0
    assert wilson(20, 20)[1] == 1.0
    assert wilson(20, 20)[0] == pytest.approx(0.8389, abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    successes = np.random.default_rng(0).binomial(50, 0.9, 2000)
    covered = [wilson(int(s), 50)[0] <= 0.9 <= wilson(int(s), 50)[1] for s in successes]
    assert 0.92 < np.mean(covered) < 0.985


def test_bootstrap_covers_the_true_log_loss():
    metric = {"log-loss": METRICS.load("log-loss")}
    truth = metric["log-loss"](drawn(200_000, 3, 99))
    ends = [bootstrap(drawn(150, 3, seed), metric)["log-loss"] for seed in range(60)]
    covered = np.mean([low <= truth <= high for low, high in ends])
    assert covered >= 0.85


def test_intervals_hold_their_figure_and_stay_in_range():
    for n, k in ((1, 2), (3, 3), (40, 30), (500, 4)):
        found = figures(drawn(n, k, 3), [str(i) for i in range(k)])
        for key, item in found.measures.items():
            metric = METRICS.load(key)
            assert metric.lowest <= item.low <= item.value <= item.high <= metric.highest
            assert item.n == n


def test_intervals_are_the_same_each_time():
    scored = drawn(200, 4, 5)
    assert figures(scored, "abcd").measures == figures(scored, "abcd").measures


def test_all_right_is_not_certain():
    perfect = Scored(np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.array([0, 1, 2, 0]))
    found = figures(perfect, "abc").measures
    for key in ("accuracy", "balanced-accuracy", "macro-f1", "worst-class-recall"):
        assert found[key].high == 1.0
        assert found[key].low < 0.6


def test_the_worst_class_has_the_interval_of_its_own_pictures():
    rows = np.eye(2, dtype=np.float32)[[0] * 90 + [1, 1, 0]]
    found = figures(Scored(rows, np.array([0] * 90 + [1, 1, 1])), "ab").measures
    assert (found["worst-class-recall"].low, found["worst-class-recall"].high) == wilson(2, 3)


def test_ten_thousand_pictures_take_little_time():
    scored = drawn(10_000, 100, 0)
    began = time.perf_counter()
    figures(scored, [str(i) for i in range(100)])
    assert time.perf_counter() - began < 8  # 0.4 s measured on a quiet core


def test_judge_is_plain_json_with_the_names_training_uses():
    scored = drawn(50, 3, 0)
    found = judge(scored.probabilities, scored.labels, ("a", "b", "c"))
    assert found["accuracy"] == scored.correct.mean()
    assert {"log_loss", "macro_f1", "per_class", "confusions", "intervals"} <= set(found)


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        (np.zeros((0, 2)), [], "no labelled picture"),
        (np.full((2, 2), 0.5), [0], "labels"),
        (np.full((1, 2), 0.5), [2], r"\[0, 2\)"),
        (np.full((1, 2), 0.7), [0], "no probabilities"),
        (np.array([[1.5, -0.5]]), [0], "no probabilities"),
        (np.array([[np.nan, 1.0]]), [0], "no probabilities"),
    ],
)
def test_scored_refuses_what_cannot_be_scored(rows, labels, words):
    with pytest.raises(DataError, match=words):
        Scored(rows, np.array(labels, dtype=int))


def test_bins_are_hand_countable_and_hold_every_score():
    confidence = np.array([1.0, 0.5, 0.5, 1 / 15, 1e-9])
    bins = reliability(confidence, np.array([True, True, False, False, False]))
    assert sum(part.n for part in bins) == 5
    assert [part.n for part in bins] == [2, 2, 1]
    assert bins[1].accuracy == 0.5
    assert bins[-1].high == 1.0


def test_untempered_gives_back_the_first_probabilities():
    from clearsight.core.calibration import softmax

    logits = np.random.default_rng(0).normal(size=(50, 6)) * 4
    for temperature in (0.4, 1.0, 3.0):
        again = untempered(softmax(logits, temperature), temperature)
        assert np.allclose(again, softmax(logits), atol=2e-5)
