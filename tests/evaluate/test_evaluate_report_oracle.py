"""Every figure of a report, recomputed by scikit-learn and MAPIE from the answers alone."""

import re

import numpy as np
import pytest
from test_evaluate_trust import colours, trusted  # noqa: F401 - a fixture

from clearsight.evaluate.report import percent, render_report
from clearsight.evaluate.score import evaluate

oracle = pytest.importorskip("sklearn.metrics")
CONFORMAL = {"method": "lac", "thresholds": {"90": [0.6], "95": [0.9]}, "level": 90, "n": 200}
REJECTION = {"method": "energy", "threshold": 7.0, "keeps": 0.9, "n": 200}


@pytest.fixture
def answered(tmp_path, colours):  # noqa: F811
    """Return the evaluation, its page, and the answers: truth, probabilities, logits."""
    predictor = trusted(tmp_path, conformal=CONFORMAL, rejection=REJECTION, temperature=1.5)
    found = evaluate(predictor, colours, temperature=1.5)
    page = render_report(found, {"vector": None, "part": "test"}, colours)
    images = np.stack([predictor.prepare(colours.encoded(row)) for row in range(240)])
    names = [colours.classes[sample.label] for sample in colours.samples]
    truth = np.array([predictor.classes.index(name) for name in names])
    logits = predictor.logits(images).astype(np.float64)
    powers = np.exp(logits / 1.5 - (logits / 1.5).max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return found.to_json(), re.sub(r"<[^>]+>", " ", page), truth, shares, logits


def test_accuracy_and_its_kin(answered):
    told, page, truth, shares, _ = answered
    said = shares.argmax(axis=1)
    wanted = {
        "accuracy": oracle.accuracy_score(truth, said),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, said),
        "macro_f1": oracle.f1_score(truth, said, average="macro"),
        "log_loss": oracle.log_loss(truth, shares),
        "worst_class_recall": oracle.recall_score(truth, said, average=None).min(),
        "brier": np.square(shares - np.eye(3)[truth]).sum(axis=1).mean(),
    }
    for key, value in wanted.items():
        assert told[key] == pytest.approx(value, abs=1e-6), key
    assert told["confusion_matrix"] == oracle.confusion_matrix(truth, said).tolist()
    precision, recall, f1, n = oracle.precision_recall_fscore_support(truth, said)
    for column, name in enumerate(told["classes"]):
        item = told["per_class"][name]
        got = [item[key] for key in ("precision", "recall", "f1", "n")]
        assert got == pytest.approx([precision[column], recall[column], f1[column], n[column]])
        assert percent(recall[column]) in page
    assert percent(wanted["accuracy"]).removesuffix(" %") in page
    assert percent(wanted["macro_f1"]) in page


def test_the_calibration_error(answered):
    calibration = pytest.importorskip("mapie.metrics.calibration")
    told, _, truth, shares, _ = answered
    right = (shares.argmax(axis=1) == truth).astype(int)
    wanted = calibration.expected_calibration_error(right, shares.max(axis=1), 16, "uniform")
    # 16 edges of 15 bins: that is how MAPIE counts
    assert told["ece"] == pytest.approx(wanted, abs=1e-6)


def test_sets(answered):
    metrics = pytest.importorskip("mapie.metrics.classification")
    told, page, truth, shares, _ = answered
    for level, bound in (("90", 0.6), ("95", 0.9)):
        sets = (1 - shares <= bound)[:, :, None]
        coverage = float(metrics.classification_coverage_score(truth, sets)[0])
        size = float(metrics.classification_mean_width_score(sets)[0])
        item = told["conformal"][level]
        assert (item["coverage"], item["mean_size"]) == pytest.approx((coverage, size))
        assert percent(coverage) in page
        assert f"{size:.2f}" in page
        covered = [sets[truth == k, k, 0].mean() for k in range(3)]
        assert item["worst_class_coverage"] == pytest.approx(min(covered))


def test_what_is_accepted(answered):
    from scipy.special import logsumexp

    told, page, truth, shares, logits = answered
    accepted = logsumexp(logits, axis=1) >= 7.0
    right = shares.argmax(axis=1) == truth
    item = told["rejection"]
    assert item["accepted"]["value"] == pytest.approx(accepted.mean())
    assert item["accuracy_accepted"]["value"] == pytest.approx(right[accepted].mean())
    assert item["accuracy_rejected"]["value"] == pytest.approx(right[~accepted].mean())
    assert percent(accepted.mean()) in page
    assert percent(right[accepted].mean()) in page


def test_a_figure_of_other_answers_would_be_noticed(answered):
    told, _, truth, shares, _ = answered
    other = shares[:, [1, 0, 2]]
    assert told["log_loss"] != pytest.approx(oracle.log_loss(truth, other), abs=1e-3)
    assert told["accuracy"] != pytest.approx(oracle.accuracy_score(truth, other.argmax(axis=1)))
