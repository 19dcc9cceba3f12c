"""Features are computed once, resumed after a kill, and never taken from another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clearsight.core.progress import Silent
from clearsight.learn import features
from clearsight.learn.features import extract, subsample

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
EVERY = np.arange(50)


class MeanColour:
    """A stand-in for an engine that counts pictures and may be killed at one."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.seen, self.killed_at = 0, killed_at

    def run(self, images_nhwc: np.ndarray, outputs: Sequence[str] = ()) -> dict[str, np.ndarray]:
        self.seen += len(images_nhwc)
        if self.killed_at is not None and self.seen > self.killed_at:
            raise KeyboardInterrupt
        return {"embedding": images_nhwc.mean(axis=(1, 2), dtype=np.float32)}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BATCH_BYTES", 5 * IMAGES[0].nbytes)
    monkeypatch.setattr(features, "SAVE_EVERY_S", 0.0)


def run(
    folder: Path, runner: MeanColour, model: bytes = b"m", rows: np.ndarray = EVERY
) -> features.Extraction:
    return extract(runner, model, IMAGES, rows, folder, "train", Silent())


def test_features_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = np.array([1, 2, 7, 30, 31, 32, 49])
    got = run(tmp_path, MeanColour(), rows=rows)
    np.testing.assert_allclose(got.features, IMAGES[rows].mean(axis=(1, 2)), rtol=1e-5)


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, MeanColour(killed_at=22))
    runner = MeanColour()
    got = run(tmp_path, runner)
    assert got.computed == 30
    assert runner.seen == 31  # one more picture tells the length
    np.testing.assert_allclose(got.features, IMAGES.mean(axis=(1, 2)), rtol=1e-5)
    assert run(tmp_path, MeanColour()).computed == 0


def test_other_models_rows_and_pictures_share_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, MeanColour())
    assert run(tmp_path, MeanColour(), model=b"other").computed == 50
    assert run(tmp_path, MeanColour(), rows=EVERY[:40]).computed == 40
    changed = IMAGES.copy()
    changed[0] += 1
    assert extract(MeanColour(), b"m", changed, EVERY, tmp_path, "train", Silent()).computed == 50


@pytest.mark.parametrize("damage", [b"", b"{", b'{"done": "x"}', b'{"done": 99}', b"[]"])
def test_a_damaged_mark_means_starting_over(tmp_path: Path, damage: bytes) -> None:
    run(tmp_path, MeanColour())
    next(tmp_path.glob("*.json")).write_bytes(damage)
    assert run(tmp_path, MeanColour()).computed == 50


def test_rare_classes_survive_subsampling() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10)
    rows = subsample(labels, 60, seed=1)
    assert len(rows) == 60
    assert (np.diff(rows) > 0).all()
    assert np.bincount(labels[rows]).tolist() == [25, 25, 10]
    np.testing.assert_array_equal(rows, subsample(labels, 60, seed=1))
    assert (rows != subsample(labels, 60, seed=2)).any()
    np.testing.assert_array_equal(subsample(labels, 5000, seed=1), np.arange(1000))
