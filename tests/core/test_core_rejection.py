"""Familiarity tells known from unknown, thresholds keep what they say, files are read strictly."""

import numpy as np
import pytest

from clearsight.core.errors import BundleError, ConfigError, DataError
from clearsight.core.rejection import (
    FEATURE_METHODS,
    FEATURES,
    FeatureMemory,
    Rejection,
    auroc,
    project,
    remember,
    score_familiarity,
    threshold_for,
)
from clearsight.core.tensors import read_float32


def clusters(n, seed, d=20, k=3):
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(0, 3, (k, d))
    labels = generator.integers(0, k, n)
    return (centres[labels] + generator.normal(0, 0.5, (n, d))).astype(np.float32), labels


def elsewhere(n, d=20):
    return np.random.default_rng(5).normal(0, 3, (n, d)).astype(np.float32)


@pytest.mark.parametrize("method", FEATURE_METHODS)
@pytest.mark.parametrize("d", [20, 700])
def test_what_lies_elsewhere_is_less_familiar(method, d):
    memory = remember(method, *clusters(400, 1, d))
    known, unknown = (
        memory.familiarity(clusters(200, 2, d)[0]),
        memory.familiarity(elsewhere(200, d)),
    )
    assert auroc(known, unknown) > 0.99
    assert auroc(known, memory.familiarity(clusters(200, 3, d)[0])) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("method", FEATURE_METHODS)
def test_a_picture_is_as_familiar_in_any_batch(method):
    memory = remember(method, *clusters(300, 1))
    rows = clusters(17, 4)[0]
    one_by_one = np.concatenate([memory.familiarity(row[None]) for row in rows])
    np.testing.assert_allclose(memory.familiarity(rows), one_by_one, rtol=1e-4, atol=1e-5)


def test_nearest_is_what_scikit_learn_finds():
    neighbors = pytest.importorskip("sklearn.neighbors")
    bank, labels = clusters(300, 1)
    rows = elsewhere(50)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    found, _ = neighbors.NearestNeighbors(n_neighbors=5).fit(unit(bank)).kneighbors(unit(rows))
    told = remember("k-nearest", bank, labels).familiarity(rows)
    np.testing.assert_allclose(-told, found[:, 4], atol=1e-4)


def test_mahalanobis_is_what_scikit_learn_finds():
    covariance = pytest.importorskip("sklearn.covariance")
    bank, labels = clusters(300, 1)
    means = np.stack([bank[labels == kind].mean(axis=0) for kind in range(3)])
    fitted = covariance.LedoitWolf(assume_centered=True).fit(bank - means[labels])
    rows = elsewhere(50)
    wanted = np.min(
        [np.einsum("nd,de,ne->n", rows - m, fitted.precision_, rows - m) for m in means], axis=0
    )
    told = remember("mahalanobis", bank, labels).familiarity(rows)
    np.testing.assert_allclose(-told, wanted, rtol=1e-3)


def test_all_equal_features_are_no_error():
    same, labels = np.ones((200, 8), np.float32), np.zeros(200, np.int64)
    for method in FEATURE_METHODS:
        found = remember(method, same, labels).familiarity(np.zeros((3, 8), np.float32))
        assert np.isfinite(found).all()
        assert (found < 0).all()


def test_scores_alone():
    logits = np.array([[5.0, 0.0], [0.1, 0.0]], np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert score_familiarity("max-softmax", logits, shares) == pytest.approx(shares.max(axis=1))
    assert score_familiarity("energy", logits, shares) == pytest.approx(
        np.log(np.exp(logits).sum(axis=1))
    )
    assert np.isfinite(score_familiarity("energy", logits * 1e4, shares)).all()


def test_auroc_is_what_scikit_learn_finds():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    known, unknown = generator.integers(0, 20, 100) / 4.0, generator.integers(0, 16, 70) / 4.0
    wanted = metrics.roc_auc_score([1] * 100 + [0] * 70, [*known, *unknown])
    assert auroc(known, unknown) == pytest.approx(wanted)


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [100, 101, 317])
def test_a_threshold_keeps_what_was_asked(keep, n):
    known = np.random.default_rng(n).normal(size=n)
    kept = (known >= threshold_for(known, keep)).mean()
    assert keep <= kept < keep + 1.5 / n + 1e-9


def test_long_features_keep_their_distances():
    rows = np.random.default_rng(0).normal(size=(40, 2000)).astype(np.float32)
    seen = project(rows)
    assert seen.shape == (40, FEATURES)
    ratio = np.linalg.norm(seen[:20] - seen[20:], axis=1) / np.linalg.norm(
        rows[:20] - rows[20:], axis=1
    )
    assert abs(ratio / np.median(ratio) - 1).max() < 0.2, "all are scaled alike"


def test_features_of_another_length_are_refused():
    with pytest.raises(DataError, match="7 directions, rejection knows 20"):
        remember("k-nearest", *clusters(200, 1)).familiarity(np.ones((2, 7), np.float32))


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"bank": np.ones((0, 3), np.float32)},
        {"bank": np.ones(3, np.float32)},
        {"means": np.ones((2, 3), np.float32)},
        {"means": np.ones((2, 3), np.float32), "whitening": np.eye(4, dtype=np.float32)},
        {"bank": np.full((2, 3), np.nan, np.float32)},
        {"other": np.ones((2, 3), np.float32)},
    ],
)
def test_features_that_do_not_fit_are_refused(arrays):
    with pytest.raises(DataError):
        FeatureMemory(arrays)


def test_a_method_and_its_file_go_together():
    good = {"method": "energy", "threshold": 1.0, "keeps": 0.95, "n": 100}
    assert not Rejection.parse(good).needs_features
    for change in ({"file": "x"}, {"method": "k-nearest"}, {"keeps": 1.0}, {"method": "odin"}):
        with pytest.raises(ConfigError):
            Rejection.parse(good | change)


def test_safetensors_are_read_as_the_library_writes_them():
    numpy_format = pytest.importorskip("safetensors.numpy")
    arrays = {
        "means": np.arange(6, dtype=np.float32).reshape(2, 3),
        "w": np.eye(3, dtype=np.float32),
    }
    content = numpy_format.save(arrays)
    found = read_float32(content)
    assert set(found) == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
    for cut in (0, 4, 8, 20, len(content) - 1):
        with pytest.raises(BundleError):
            read_float32(content[:cut])
    with pytest.raises(BundleError, match="cut off or too long"):
        read_float32(content + b"x")
    with pytest.raises(BundleError, match="F64"):
        read_float32(numpy_format.save({"a": np.eye(2)}))


def test_any_changed_byte_of_the_header_is_no_crash():
    numpy_format = pytest.importorskip("safetensors.numpy")
    content = numpy_format.save({"bank": np.ones((4, 3), np.float32)})
    generator = np.random.default_rng(3)
    for _ in range(500):
        body = bytearray(content)
        body[int(generator.integers(0, len(content) - 48))] = int(generator.integers(0, 256))
        try:
            read_float32(bytes(body))
        except BundleError:
            continue
