import numpy as np
import pytest

from clearsight.core.calibration import HIGHEST, LOWEST, fit_temperature, softmax
from clearsight.core.errors import DataError


def drawn(n, k, seed=0):
    """Logits whose softmax at temperature 1 is the truth, with labels drawn from it."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, k)) * 3
    chances = softmax(logits).astype(float).cumsum(axis=1)
    labels = (chances < generator.random((n, 1))).sum(axis=1).clip(0, k - 1)
    return logits, labels


def log_loss(logits, labels, temperature):
    own = softmax(logits, temperature)[np.arange(len(labels)), labels]
    return -np.log(own.astype(float).clip(1e-30)).mean()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_finds_the_temperature_that_was_applied(temperature):
    logits, labels = drawn(20_000, 10)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.03)


def test_no_temperature_on_a_fine_grid_is_better():
    logits, labels = drawn(3000, 5, seed=1)
    found = log_loss(logits * 3, labels, fit_temperature(logits * 3, labels))
    grid = [log_loss(logits * 3, labels, t) for t in np.geomspace(LOWEST, HIGHEST, 400)]
    assert found <= min(grid) + 1e-4


def test_is_the_same_for_every_order_and_precision():
    logits, labels = drawn(500, 4, seed=2)
    order = np.random.default_rng(0).permutation(500)
    expected = fit_temperature(logits, labels)
    assert fit_temperature(logits[order], labels[order]) == pytest.approx(expected, rel=1e-6)
    assert fit_temperature(logits.astype(np.float32), labels) == pytest.approx(expected, rel=1e-4)


def test_a_shift_of_all_scores_changes_nothing():
    logits, labels = drawn(500, 4, seed=3)
    assert fit_temperature(logits + 1e4, labels) == pytest.approx(
        fit_temperature(logits, labels), rel=1e-6
    )


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((0, 3)), np.zeros(0, int)),
        (np.zeros((5, 3)), np.array([0, 1, 2, 0, 1])),
        (np.ones((4, 1)), np.zeros(4, int)),
    ],
    ids=["no samples", "constant", "one class"],
)
def test_where_nothing_can_be_learnt_it_is_one(logits, labels):
    assert fit_temperature(logits, labels) == 1.0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 100.0, 1e30])
@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_stays_within_bounds(scale, right):
    labels = np.arange(10) if right else (np.arange(10) + 1) % 10
    found = fit_temperature(np.eye(10) * scale, labels)
    assert LOWEST <= found <= HIGHEST


def test_a_few_right_pictures_do_not_ask_for_certainty():
    few = softmax(np.eye(4) * 8, fit_temperature(np.eye(4) * 8, np.arange(4)))
    assert few.max() < 0.95


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_scores_that_are_not_finite(value):
    logits = np.zeros((3, 2))
    logits[1, 1] = value
    with pytest.raises(DataError, match="not finite"):
        fit_temperature(logits, np.zeros(3, int))


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_refuses_labels_outside_the_classes(labels):
    with pytest.raises(DataError, match=r"\[0, 3\)"):
        fit_temperature(np.zeros((2, 3)), np.array(labels))


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(DataError, match=r"\(n, k\)"):
        fit_temperature(np.zeros((2, 3)), np.zeros(3, int))


def test_softmax_rows_sum_to_one_at_extreme_scores():
    rows = softmax(np.array([[1e30, -1e30, 0.0], [-1e4, -1e4, -1e4]]))
    assert rows.dtype == np.float32
    assert np.allclose(rows.sum(axis=1), 1)
    assert np.allclose(rows, [[1, 0, 0], [1 / 3] * 3])


def test_softmax_agrees_with_scipy():
    scipy_special = pytest.importorskip("scipy.special")
    logits, _ = drawn(100, 7)
    assert np.allclose(softmax(logits, 2.0), scipy_special.softmax(logits / 2, axis=1), atol=1e-6)
