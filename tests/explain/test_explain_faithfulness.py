"""Deletion and insertion tell true maps from maps that know nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clearsight.core.calibration import softmax
from clearsight.core.nouns import Preprocessing
from clearsight.explain.faithfulness import faithfulness
from clearsight.explain.fill import blurred
from clearsight.explain.place import in_picture, over_picture, peak
from clearsight.explain.question import Question
from clearsight.explain.weights_check import rank_correlation
from clearsight.testing.colour_patch_network import (
    PATCH,
    colour_patch_network,
    patch_pictures,
)

NETWORK = colour_patch_network()
PLACES = ((0, 0), (8, 44), (32, 16), (28, 48))


def probabilities(images: Any) -> Any:
    return softmax(NETWORK.logits(images.astype(np.float32)))


def scored(map_hw: Any, at: int, seed: int = 0) -> Any:
    image = patch_pictures(PLACES, (0, 1, 2, 0))[at]
    question = Question(np.array([(0, 1, 2, 0)[at]]))
    return faithfulness(probabilities, image, question, map_hw.astype(np.float32), seed)


def true_map(at: int) -> Any:
    found = np.zeros((48, 64))
    y, x = PLACES[at]
    found[y : y + PATCH, x : x + PATCH] = 1
    return found


@pytest.mark.parametrize("at", range(4))
def test_the_true_map_is_faithful_and_its_opposite_is_not(at: int) -> None:
    good, bad = scored(true_map(at), at), scored(-true_map(at), at)
    assert good.faithful
    assert not bad.faithful
    assert good.deletion < good.random_deletion
    assert good.insertion > good.random_insertion
    assert bad.deletion > good.deletion
    assert bad.insertion < good.insertion


def test_maps_that_know_nothing_are_not_faithful() -> None:
    random = np.random.default_rng(7)
    verdicts = [scored(random.random((48, 64)), at).faithful for at in range(4) for _ in range(10)]
    assert sum(verdicts) <= 2  # of 40
    assert not any(scored(np.zeros((48, 64)), at).faithful for at in range(4))
    y, x = np.mgrid[-1:1:48j, -1:1:64j]
    assert not any(scored(np.exp(-2 * (y**2 + x**2)), at).faithful for at in range(4))


def test_a_flat_picture_has_no_faithful_map() -> None:
    image = np.full((48, 64, 3), 90, np.uint8)
    found = faithfulness(probabilities, image, Question(np.array([0])), true_map(0).astype("f4"))
    assert not found.faithful
    assert found.deletion == pytest.approx(found.insertion)


def test_scores_are_worked_out_by_hand() -> None:
    """A recognizer of the first cell's brightness, and the map that names this cell first."""
    image = np.zeros((28, 28, 1), np.uint8)
    image[:2, :2] = 255

    def first(images: Any) -> Any:
        seen = images[:, 0, 0, 0].astype(np.float32) / 255
        return np.stack([seen, 1 - seen], axis=1)

    map_hw = np.zeros((28, 28), np.float32)
    map_hw[:2, :2] = 1
    hidden = float(np.rint(blurred(image)[0, 0, 0]) / 255)
    found = faithfulness(first, image, Question(np.array([0])), map_hw)
    assert found.deletion == pytest.approx(((1 + hidden) / 2 + 9 * hidden) / 10)
    assert found.insertion == pytest.approx(((1 + hidden) / 2 + 9) / 10)
    assert found.faithful


def test_the_seed_draws_the_random_maps() -> None:
    one, same, other = (scored(true_map(0), 0, seed) for seed in (1, 1, 2))
    assert one == same
    assert one.random_deletion != other.random_deletion


def test_questions() -> None:
    p = np.array([[0.7, 0.2, 0.1]], np.float32)
    assert Question(np.array([0])).score(p)[0] == pytest.approx(0.7)
    pair = Question(np.array([0]), np.array([1]))
    assert pair.score(p)[0] == pytest.approx(0.7 / 0.9)
    assert pair.weights(3).tolist() == [[1, -1, 0]]
    z = np.log(p)
    assert Question(np.array([0])).margin(z)[0] == pytest.approx(np.log(0.7 / 0.3), abs=1e-5)
    assert pair.margin(z)[0] == pytest.approx(np.log(0.7 / 0.2), abs=1e-5)
    assert Question(np.array([2])).margin(z, "multi-label")[0] == pytest.approx(z[0, 2])


def test_places() -> None:
    stretch = Preprocessing(height=10, width=10)
    assert in_picture((0, 9), stretch, (100, 200)) == (5, 190)
    crop = Preprocessing(height=10, width=10, fit="crop")
    assert in_picture((0, 0), crop, (100, 200)) == (5, 55)
    letterbox = Preprocessing(height=10, width=10, fit="letterbox")
    assert in_picture((5, 0), letterbox, (100, 200)) == (60, 10)
    assert in_picture((0, 0), letterbox, (100, 200)) == (0, 10)
    assert peak(np.array([[0, 0, 0], [0, 5, 5], [0, 5, 5]], np.float32)) in {(1, 1), (2, 2)}


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
def test_a_map_lies_over_the_place_it_came_from(fit: str) -> None:
    preprocessing = Preprocessing(height=20, width=20, fit=fit)
    map_hw = np.zeros((20, 20), np.float32)
    map_hw[12, 6] = 1
    size = (100, 160)
    over = over_picture(map_hw, preprocessing, size)
    assert over.shape == size
    y, x = np.unravel_index(int(over.argmax()), size)
    wanted = in_picture((12, 6), preprocessing, size)
    assert abs(int(y) - wanted[0]) <= 5
    assert abs(int(x) - wanted[1]) <= 8


def test_rank_correlation_is_spearmans() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(3)
    a = random.normal(size=(14, 14)).astype(np.float32)
    b = np.round(a + random.normal(size=(14, 14)), 1).astype(np.float32)
    wanted = stats.spearmanr(a.ravel(), b.ravel()).statistic
    assert rank_correlation(a, b) == pytest.approx(wanted, abs=1e-5)
    flat = np.zeros((14, 14), np.float32)
    assert rank_correlation(flat, flat) == 1
    assert rank_correlation(flat, a) == 0
