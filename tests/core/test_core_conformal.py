"""Conformal sets keep what they promise, agree with MAPIE, and say when they cannot be made."""

import numpy as np
import pytest

from clearsight.core.conformal import (
    EVERYTHING,
    LEAST_OF_A_CLASS,
    SET_METHODS,
    Conformal,
    fit_conformal,
    fit_part,
)
from clearsight.core.errors import ConfigError, DataError
from clearsight.core.set_choice import best_sets, try_sets

CLASSES = tuple("abcdefgh")


def drawn(n, seed, k=8, sharpness=0.3):
    """Return probabilities and labels that are as right as the probabilities say."""
    generator = np.random.default_rng(seed)
    rows = generator.dirichlet(np.full(k, sharpness), n)
    labels = (rows.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(0, k - 1)
    return rows.astype(np.float32), labels


def covered(conformal, shares, labels, level=None):
    sets = conformal.sets(shares, level)
    return sets[np.arange(len(labels)), labels]


@pytest.mark.parametrize("method", SET_METHODS)
@pytest.mark.parametrize("level", [90, 95])
def test_new_pictures_are_covered_as_promised(method, level):
    fitted = fit_conformal(*drawn(4000, 1), method, CLASSES)
    shares, labels = drawn(20_000, 2)
    share = covered(fitted, shares, labels, level).mean()
    assert share > level / 100 - 0.015
    if method in ("lac", "class-conditional"):
        assert share < level / 100 + 0.015
    else:
        assert (fitted.sets(shares, level).sum(axis=1) > 0).all(), "these are never empty"


def test_the_promise_is_kept_by_a_wrong_recognizer_too():
    """Probabilities that lie cost large sets, not coverage; a fixed threshold fails here."""
    shares, labels = drawn(4000, 3)
    lying = shares[:, ::-1] ** 3 + 1e-6
    lying = (lying / lying.sum(axis=1, keepdims=True)).astype(np.float32)
    fitted = fit_conformal(lying[:2000], labels[:2000], "lac", CLASSES)
    assert abs(covered(fitted, lying[2000:], labels[2000:]).mean() - 0.95) < 0.02
    naive = lying[2000:] >= 0.05
    assert naive[np.arange(2000), labels[2000:]].mean() < 0.8


def hard_class(n, seed):
    """Return scores of a recognizer that is bad at class 0 alone."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 8, n)
    logits = generator.normal(0, 1, (n, 8))
    logits[np.arange(n), labels] += np.where(labels == 0, 0.5, 6.0)
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), labels


def test_class_conditional_sets_cover_every_class():
    train, test = hard_class(4000, 4), hard_class(20_000, 5)
    worst = {}
    for method in ("lac", "class-conditional"):
        fitted = fit_conformal(*train, method, CLASSES)
        inside = covered(fitted, *test, 90)
        worst[method] = min(inside[test[1] == column].mean() for column in range(8))
    assert worst["class-conditional"] > 0.86
    assert worst["lac"] < 0.6, "negative control: without it the hard class is left behind"


def test_the_choice_leaves_no_class_behind():
    trials = try_sets(*hard_class(2000, 6), CLASSES)
    assert [trial.method for trial in trials] == list(SET_METHODS)
    assert best_sets(trials).method == "class-conditional"
    even = try_sets(*drawn(2000, 7), CLASSES)
    chosen = best_sets(even)
    assert chosen.fair
    assert chosen.mean_size == min(trial.mean_size for trial in even if trial.fair)


def test_lac_by_hand():
    shares = np.tile(np.array([[0.6, 0.4]], np.float32), (100, 1))
    shares[:50] = (0.9, 0.1)
    fitted = fit_conformal(shares, np.zeros(100, np.int64), "lac", ("a", "b"))
    assert fitted.thresholds["90"] == pytest.approx((0.4,))
    assert fitted.sets(np.array([[0.61, 0.39], [0.5, 0.5]], np.float32)).tolist() == [
        [True, False],
        [False, False],
    ]


def test_aps_and_raps_by_hand():
    rows = np.array([[0.5, 0.3, 0.15, 0.05]], np.float32)
    aps = Conformal(method="aps", thresholds={"90": (0.6,)}, level=90, n=100)
    assert aps.sets(rows).tolist() == [[True, True, False, False]], "0.5 <= 0.6 < 0.8"
    raps = Conformal(
        method="raps", thresholds={"90": (0.9,)}, level=90, n=100, penalty=0.2, free_ranks=1
    )
    assert raps.sets(rows).tolist() == [[True, True, False, False]], "0.5, 0.8 + 0.2 > 0.9"


def test_a_class_without_pictures_has_the_bound_of_all():
    shares, labels = drawn(1000, 8)
    labels[labels == 3] = 4
    fitted = fit_conformal(shares, labels, "class-conditional", CLASSES)
    assert fitted.pooled == ("d",)
    lac = fit_conformal(shares, labels, "lac", CLASSES)
    assert fitted.thresholds["90"][3] == lac.thresholds["90"][0]


def test_too_few_for_a_quantile_lets_every_class_in():
    few = LEAST_OF_A_CLASS - 10
    fitted = fit_part(*drawn(few, 9), "lac", CLASSES)
    assert fitted.thresholds["95"] == (EVERYTHING,)
    assert fitted.sets(drawn(5, 10)[0], 95).all()


def test_too_few_pictures_are_refused():
    with pytest.raises(DataError, match="at least 100 held-out pictures, got 99"):
        fit_conformal(*drawn(99, 11), "lac", CLASSES)
    with pytest.raises(DataError, match="got 99"):
        try_sets(*drawn(99, 11), CLASSES)


@pytest.mark.parametrize(
    "change",
    [
        {"level": 80},
        {"thresholds": {}},
        {"thresholds": {"x": (0.5,)}},
        {"thresholds": {"90": ()}},
        {"method": "naive"},
        {"penalty": -1},
    ],
)
def test_broken_quantiles_are_refused(change):
    good = {"method": "lac", "thresholds": {"90": [0.5]}, "level": 90, "n": 100}
    assert Conformal.parse(good).level == 90
    with pytest.raises(ConfigError):
        Conformal.parse(good | change)


def test_it_survives_json():
    fitted = fit_conformal(*drawn(500, 12), "raps", CLASSES)
    assert Conformal.parse(fitted.model_dump(mode="json")) == fitted


def by_definition(row, threshold, penalty, free_ranks):
    """Return a RAPS set as the paper words it: add classes until the threshold is passed."""
    total, chosen = 0.0, []
    for rank, column in enumerate(sorted(range(len(row)), key=lambda c: (-row[c], c)), start=1):
        chosen.append(column)
        total += float(row[column])
        if total + penalty * max(0, rank - free_ranks) > threshold:
            break
    return [column in chosen for column in range(len(row))]


@pytest.mark.parametrize("method", ["aps", "raps"])
def test_aps_and_raps_are_what_the_papers_define(method):
    fitted = fit_conformal(*drawn(1500, 13), method, CLASSES)
    rows = drawn(300, 14)[0]
    (threshold,) = fitted.thresholds["90"]
    wanted = [by_definition(row, threshold, fitted.penalty, fitted.free_ranks) for row in rows]
    assert fitted.sets(rows, 90).tolist() == wanted
    assert (fitted.penalty > 0) == (method == "raps")


@pytest.mark.parametrize("level", [90, 95])
def test_lac_is_what_mapie_finds(level):
    mapie = pytest.importorskip("mapie.classification")
    sklearn = pytest.importorskip("sklearn.base")

    class Fixed(sklearn.ClassifierMixin, sklearn.BaseEstimator):
        """Gives its input back as probabilities."""

        classes_ = np.arange(8)

        def __sklearn_is_fitted__(self):
            return True

        def fit(self, rows, labels):
            return self

        def predict(self, rows):
            return np.argmax(rows, axis=1)

        def predict_proba(self, rows):
            return rows

    def exact(n, seed):
        rows, labels = drawn(n, seed)
        rows = rows.astype(np.float64)
        return rows / rows.sum(axis=1, keepdims=True), labels

    shares, labels = exact(1500, 13)
    fitted = fit_conformal(shares, labels, "lac", CLASSES)
    oracle = mapie.SplitConformalClassifier(
        Fixed(), confidence_level=level / 100, conformity_score="lac", prefit=True
    )
    oracle.conformalize(shares, labels)
    new, _ = exact(500, 14)
    _, sets = oracle.predict_set(new)
    assert (fitted.sets(new, level) == sets[:, :, 0]).mean() > 0.999
