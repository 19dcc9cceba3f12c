from __future__ import annotations

import numpy as np
import pytest

from clearsight.core.agreement import agreement
from clearsight.core.errors import DataError


def test_hand_worked() -> None:
    wanted = np.array([[0.7, 0.3], [0.4, 0.6], [0.5, 0.5], [0.9, 0.1]], dtype=np.float32)
    got = np.array([[0.7, 0.3], [0.6, 0.4], [0.499999, 0.500001], [0.9, 0.1]], dtype=np.float32)
    seen = agreement(wanted, got)
    assert seen.n == 4
    assert seen.same_label == 0.75  # the tie in row 2 is no disagreement
    assert seen.max_difference == pytest.approx(0.2)
    assert not seen.holds
    assert agreement(wanted, wanted).holds


@pytest.mark.parametrize(("off", "holds"), [(0.9e-3, True), (1.1e-3, False)])
def test_bound_on_probabilities(off: float, holds: bool) -> None:
    wanted = np.array([[0.7, 0.3]])
    assert agreement(wanted, wanted + np.array([off, -off])).holds is holds


def test_one_label_in_a_thousand_is_allowed_and_two_are_not() -> None:
    wanted = np.tile([0.5002, 0.4998], (1000, 1))
    got = wanted.copy()
    got[0] = [0.4998, 0.5002]
    assert agreement(wanted, got).holds
    got[1] = got[0]
    assert not agreement(wanted, got).holds


def test_nan_never_agrees() -> None:
    wanted = np.array([[0.7, 0.3]])
    assert not agreement(wanted, np.full((1, 2), np.nan)).holds


@pytest.mark.parametrize("shape", [(1, 3), (0, 2), (2,)])
def test_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError):
        agreement(np.zeros((1, 2)) if shape != (0, 2) else np.zeros(shape), np.zeros(shape))


def test_trees_may_take_one_step_but_not_many():
    wanted = np.tile([0.7, 0.3], (200, 1))
    one, many, wrong = wanted.copy(), wanted + np.array([-0.01, 0.01]), wanted.copy()
    one[3] = (0.66, 0.34)
    wrong[3] = (0.4, 0.6)
    assert not agreement(wanted, one).holds
    assert agreement(wanted, one, steps=True).holds
    assert not agreement(wanted, many, steps=True).holds
    assert not agreement(wanted, wrong, steps=True).holds
