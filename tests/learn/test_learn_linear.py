"""Linear heads reach the optimum that scikit-learn finds, and keep their deadline."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from clearsight.learn import linear
from clearsight.learn.linear import Scaling, choose, fit, folded, gram

DIGITS = load_digits()
X = (DIGITS.data / 16).astype(np.float32)
Y = DIGITS.target.astype(np.int64)
PLAIN = Scaling(np.zeros(64, np.float32), np.ones(64, np.float32))


def svc_objective(weight: np.ndarray, bias: np.ndarray, c: float) -> float:
    """LinearSVC's objective with a free bias, summed over classes."""
    sign = np.where(np.arange(10) == Y[:, None], 1.0, -1.0)
    short = np.maximum(0, 1 - sign * (X @ weight + bias))
    return float(0.5 * np.square(weight).sum() + c * np.square(short).sum())


@pytest.mark.parametrize("with_gram", [False, True])
def test_svm_reaches_liblinears_objective(with_gram: bool) -> None:
    c = 0.1
    products = gram(X, PLAIN) if with_gram else None
    ours = fit(
        "squared-hinge", X, Y, 10, 1 / (c * len(X)), PLAIN, gram=products,
        max_iterations=2000, tolerance=1e-12,
    )  # fmt: skip
    # A large intercept_scaling leaves liblinear's bias almost free, as ours is.
    theirs = LinearSVC(C=c, intercept_scaling=100, tol=1e-6, max_iter=20000).fit(X, Y)
    wanted = svc_objective(theirs.coef_.T, theirs.intercept_, c)
    got = svc_objective(ours.parameters[:-1], ours.parameters[-1], c)
    assert got == pytest.approx(wanted, rel=2e-3)
    assert got == pytest.approx(ours.objective * c * len(X), rel=1e-3)
    untrained = svc_objective(np.zeros((64, 10)), np.zeros(10), c)
    assert untrained > 2 * wanted, "the objective tells a fitted machine from none"


def test_softmax_reaches_scikit_learns_probabilities() -> None:
    strength = 1e-2
    ours = fit("softmax", X, Y, 10, strength, PLAIN, max_iterations=3000, tolerance=1e-12)
    theirs = LogisticRegression(C=1 / (strength * len(X)), tol=1e-8, max_iter=5000).fit(X, Y)
    scores = folded(ours.parameters, PLAIN).scores(X)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    got = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(got, theirs.predict_proba(X), atol=2e-3)


def test_curvature_saves_iterations_and_changes_no_result() -> None:
    mixing = np.random.default_rng(0).normal(size=(64, 64)) + 3
    correlated = (X @ mixing).astype(np.float32)
    scaling = Scaling.measure(correlated)
    products = gram(correlated, scaling)
    slow = fit("softmax", correlated, Y, 10, 1e-2, scaling, max_iterations=5000, tolerance=1e-9)
    fast = fit("softmax", correlated, Y, 10, 1e-2, scaling, gram=products, tolerance=1e-9)
    assert fast.iterations < 0.7 * slow.iterations
    assert fast.objective == pytest.approx(slow.objective, rel=1e-3)


def test_scaling_is_folded_into_the_head() -> None:
    raw = X * 30 + 100
    raw[:, 5] = 7.0  # a constant column
    scaling = Scaling.measure(raw)
    scaled = (raw - scaling.offset) * scaling.factor
    assert np.abs(scaled.mean(axis=0)).max() < 1e-2
    alive = scaled.std(axis=0) > 0
    np.testing.assert_allclose(scaled.std(axis=0)[alive], 1, atol=1e-3)
    assert not scaled[:, 5].any()
    parameters = np.random.default_rng(0).normal(size=(65, 10))
    np.testing.assert_allclose(
        folded(parameters, scaling).scores(raw), scaled @ parameters[:-1] + parameters[-1],
        atol=2e-2,
    )  # fmt: skip


def test_the_best_on_validation_is_kept_and_every_try_is_told() -> None:
    train, val = (X[:1200], Y[:1200]), (X[1200:], Y[1200:])
    chosen = choose("softmax", train, val, 10, [1e-4, 10.0, 0.1], patience=3)
    assert [t["strength"] for t in chosen.tried] == [10.0, 0.1, 1e-4]
    assert chosen.accuracy == max(t["accuracy"] for t in chosen.tried)
    got = (chosen.head.scores(val[0]).argmax(axis=1) == val[1]).mean()
    assert got == pytest.approx(chosen.accuracy)
    assert got > 0.88


def test_labels_without_relation_are_not_learnt() -> None:
    shuffled = np.random.default_rng(0).permutation(Y)
    chosen = choose("softmax", (X[:1200], shuffled[:1200]), (X[1200:], shuffled[1200:]), 10, [0.1])
    assert chosen.accuracy < 0.2


def test_a_passed_deadline_still_gives_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    chosen = choose("softmax", (X, Y), (X, Y), 10, [1e-1, 1e-3, 1e-5], deadline=began - 1)
    assert len(chosen.tried) == 1
    assert not chosen.tried[0]["finished"]
    assert np.isfinite(chosen.head.weight).all()


def test_small_chunks_give_the_same_head(monkeypatch: pytest.MonkeyPatch) -> None:
    scaling = Scaling.measure(X)
    whole = fit("squared-hinge", X, Y, 10, 0.1, scaling, tolerance=1e-10)
    monkeypatch.setattr(linear, "CHUNK_BYTES", 64 * 4 * 100)
    np.testing.assert_allclose(Scaling.measure(X).factor, scaling.factor, rtol=1e-5)
    parts = fit("squared-hinge", X, Y, 10, 0.1, scaling, tolerance=1e-10)
    assert whole.objective == pytest.approx(parts.objective, rel=1e-6)
