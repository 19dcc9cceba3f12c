"""Figures of multi-label and ordinal recognizers, beside scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from clearsight.core.calibration import fit_temperature, probabilities, sigmoid
from clearsight.core.errors import DataError
from clearsight.evaluate.figures import figures, judge, scored_as
from clearsight.evaluate.reliability import untempered
from clearsight.evaluate.scored_labels import ScoredLabels


@pytest.fixture
def drawn():
    random = np.random.default_rng(0)
    rows = random.random((400, 5)).astype(np.float32)
    labels = (random.random((400, 5)) < 0.2 + 0.6 * rows).astype(np.int64)
    return rows, labels


def values(rows, labels):
    return {
        key: item.value
        for key, item in figures(ScoredLabels(rows, labels), "abcde").measures.items()
    }


def test_figures_are_those_of_scikit_learn(drawn):
    rows, labels = drawn
    got, said = values(rows, labels), (rows >= 0.5).astype(int)
    assert got["accuracy"] == pytest.approx(oracle.accuracy_score(labels, said))
    assert got["macro-f1"] == pytest.approx(oracle.f1_score(labels, said, average="macro"))
    recalls = oracle.recall_score(labels, said, average=None)
    assert got["balanced-accuracy"] == pytest.approx(recalls.mean())
    assert got["worst-class-recall"] == pytest.approx(recalls.min())
    assert got["mean-average-precision"] == pytest.approx(
        oracle.average_precision_score(labels, rows, average="macro"), abs=1e-6
    )
    assert got["log-loss"] == pytest.approx(oracle.log_loss(labels.ravel(), rows.ravel()), abs=1e-5)
    assert got["brier"] == pytest.approx(np.square(rows - labels).mean(), abs=1e-6)


def test_a_resample_is_scored_as_its_rows_are(drawn):
    rows, labels = drawn
    chosen = np.random.default_rng(1).integers(0, 400, 400)
    one, other = (
        ScoredLabels(rows, labels).resample(chosen),
        ScoredLabels(rows[chosen], labels[chosen]),
    )
    for name in (
        "predicted",
        "confidence",
        "correct",
        "hits",
        "support",
        "confusion",
        "square_sum",
    ):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_single_label_metrics_are_not_shown_for_scales_and_the_other_way():
    rows = np.full((4, 3), 1 / 3, np.float32)
    labels = np.array([0, 1, 2, 2])
    single = judge(rows, labels, "abc")
    ordinal = judge(rows, labels, "abc", "ordinal")
    assert "mean_rank_error" not in single
    assert ordinal["mean_rank_error"] == pytest.approx((0 + 1 + 2 + 2) / 4)
    assert "mean_average_precision" not in ordinal


def test_quadratic_kappa_is_that_of_scikit_learn():
    random = np.random.default_rng(2)
    rows = random.dirichlet(np.ones(5), 300).astype(np.float32)
    labels = random.integers(0, 5, 300)
    got = judge(rows, labels, "abcde", "ordinal")["quadratic_kappa"]
    want = oracle.cohen_kappa_score(labels, rows.argmax(1), weights="quadratic")
    assert got == pytest.approx(want)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (np.full((2, 2), 1.5), np.zeros((2, 2), int)),
        (np.full((2, 2), 0.5), np.full((2, 2), 2)),
        (np.full((2, 2), 0.5), np.zeros(2, int)),
        (np.zeros((0, 2)), np.zeros((0, 2), int)),
    ],
)
def test_what_is_no_answer_is_refused(rows, labels):
    with pytest.raises(DataError):
        scored_as("multi-label", rows.astype(np.float32), labels)


def test_the_temperature_makes_every_class_mean_what_it_says():
    random = np.random.default_rng(3)
    true = random.normal(0, 2, (2000, 4))
    labels = (random.random((2000, 4)) < sigmoid(true)).astype(np.int64)
    assert fit_temperature(3 * true, labels, "multi-label") == pytest.approx(3, rel=0.1)
    shares = probabilities(3 * true, 3.0, "multi-label")
    np.testing.assert_allclose(shares, sigmoid(true), atol=1e-6)
    np.testing.assert_allclose(untempered(shares, 3.0, "multi-label"), sigmoid(3 * true), atol=1e-4)
