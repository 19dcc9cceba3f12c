"""The validation sample of a training: as many pictures as the time allows, decided once."""

import time

import numpy as np
import pytest

from clearsight.core.nouns import Preprocessing
from clearsight.learn.family import Budget, Job
from clearsight.learn.hardening import build_hardening
from clearsight.learn.trainers._device import choose_device
from clearsight.learn.trainers._hardened import ATTACK_FORWARDS
from clearsight.learn.trainers._plan import Plan
from clearsight.learn.trainers._validation import FEWEST, LIMIT, Validation
from clearsight.learn.training import Choice


def made(folder, deadline_s, hardening=None):
    images, labels = np.zeros((6000, 2, 2, 1), np.uint8), np.arange(6000) % 2
    deadline = None if deadline_s is None else time.monotonic() + deadline_s
    budget = Budget(deadline=deadline, epochs=None if deadline_s else 1.0)
    size = Preprocessing(height=2, width=2, channels=1)
    job = Job(images, labels, images, labels, ("a", "b"), size, 0, budget, folder, None)
    plan = Plan(folder / "plan.json", "x")
    return Validation(job, choose_device(), plan, 32, 100, hardening=hardening)


@pytest.mark.parametrize(
    ("deadline_s", "step_s", "pictures"),
    [
        (60.0, 0.01, LIMIT),  # a quick network
        (60.0, 1.0, 153),  # 4 % of a minute at 16 ms a picture
        (60.0, 20.0, FEWEST),
        (None, 20.0, LIMIT),  # no clock decides: the same weights every time
    ],
)
def test_as_many_pictures_as_there_is_time_for(tmp_path, deadline_s, step_s, pictures):
    validation = made(tmp_path, deadline_s)
    validation.spare(5, step_s)
    assert validation.n == pytest.approx(pictures, rel=0.05)
    again = made(tmp_path, deadline_s)  # a resumed run keeps to it
    again.spare(9, step_s / 100)
    assert again.n == validation.n


def test_what_is_kept_for_the_end_is_a_part_of_the_time(tmp_path):
    validation = made(tmp_path, 60.0)
    validation.spare(5, 2.0)
    assert validation.seconds_for(2.0, 32) < 0.15 * 60


@pytest.mark.parametrize("step_s", [0.01, 1.0, 20.0])
def test_an_attack_on_validation_pictures_keeps_to_the_time_too(tmp_path, step_s):
    attack = build_hardening(Choice.of("pgd"), "single-label")
    validation = made(tmp_path, 600.0, attack)
    validation.spare(5, step_s)
    assert FEWEST <= validation.n <= LIMIT
    picture_s = step_s / 32 * 0.5 / attack.cost
    asked = validation.n + ATTACK_FORWARDS * validation.judged
    assert asked * picture_s <= max(0.05 * 600, picture_s * (FEWEST + ATTACK_FORWARDS * 20))


def test_without_a_clock_an_attack_is_tried_on_enough_pictures(tmp_path):
    validation = made(tmp_path, None, build_hardening(Choice.of("pgd"), "single-label"))
    assert validation.judged == LIMIT // 5
