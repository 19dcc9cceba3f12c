"""The compact network under attack: a stem that learns, at whole resolution."""

from dataclasses import replace

import numpy as np
import pytest

from clearsight.core.nouns import Preprocessing
from clearsight.learn.families.compact import ATTACKED_WIDTH, WIDTHS, Compact
from clearsight.learn.family import Budget, Job
from clearsight.learn.training import Choice

SIDE = 28


def fitted(folder, key):
    random = np.random.default_rng(0)
    labels = (np.arange(60) % 2).astype(np.int64)
    images = random.integers(0, 100, (60, SIDE, SIDE, 1), dtype=np.uint8)
    images[labels == 1, :14] += 120
    size = Preprocessing(height=SIDE, width=SIDE, channels=1)
    budget = Budget(epochs=1)
    job = Job(images, labels, images, labels, ("a", "b"), size, 0, budget, folder, None)
    options = {"eps": 0.1, "steps": 1} if key == "pgd" else {}
    choice = None if key is None else Choice.of(key, **options)
    return Compact(Compact.Config()).fit(replace(job, harden=choice))


@pytest.mark.parametrize("key", [None, "noise", "pgd"])
def test_only_an_attack_changes_the_network(tmp_path, key):
    found = fitted(tmp_path, key)
    attacked = key == "pgd"
    stem = found.network.stem
    assert stem.weight.requires_grad is attacked
    assert stem.stride == ((1, 1) if attacked else (2, 2))
    assert found.story["changes"]["width"] == (ATTACKED_WIDTH if attacked else WIDTHS[0])
    half = len(stem.weight) // 2
    mirrored = bool((stem.weight[:half] == -stem.weight[half:]).all())
    assert mirrored is not attacked  # whitening filters come in pairs until they learn
