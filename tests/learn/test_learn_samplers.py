"""Shares of the classes in a pass; the rest is in the contract."""

import numpy as np
import pytest

from clearsight.learn.samplers import SAMPLERS

COUNTS = (800, 0, 150, 50)
LABELS = np.repeat(np.arange(4), COUNTS)


def shown(name, options=None, progress=0.0, seed=0):
    sampler = SAMPLERS.load(name)
    made = sampler(sampler.Config.parse(options or {}))
    return made.order(LABELS, 4, progress, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("name", "options", "progress", "wanted"),
    [
        ("shuffle", {}, 0.0, COUNTS),
        ("balanced", {}, 0.0, (1000 / 3, 0, 1000 / 3, 1000 / 3)),
        ("balanced", {"full_from": 0.5}, 0.0, COUNTS),
        ("balanced", {"full_from": 0.5}, 0.5, (1000 / 3, 0, 1000 / 3, 1000 / 3)),
        ("square-root", {}, 0.0, 1000 * np.sqrt(COUNTS) / np.sqrt(COUNTS).sum()),
        ("square-root", {"power": 1.0}, 0.0, COUNTS),
    ],
)
def test_classes_have_their_shares(name, options, progress, wanted):
    for seed in range(5):
        got = np.bincount(LABELS[shown(name, options, progress, seed)], minlength=4)
        assert got.sum() == 1000
        assert np.abs(got - np.array(wanted)).max() < 1


def test_pictures_of_a_class_come_equally_often():
    times = np.bincount(shown("balanced"), minlength=1000)
    for label in (0, 2, 3):
        own = times[label == LABELS]
        assert own.max() - own.min() <= 1


def test_another_pass_leaves_out_other_pictures():
    first, second = (set(shown("balanced", seed=seed)) for seed in (0, 1))
    assert first != second
