"""The reference that training writes into a Bundle: cheap, bounded, and true."""

import time

import numpy as np
import pytest

from clearsight.core.bundle import Manifest, open_bundle
from clearsight.core.calibration import probabilities
from clearsight.core.errors import ConfigError
from clearsight.core.reference import LEAST_FEATURES, Reference, reference_of
from clearsight.learn.reference import PICTURES, measure_reference
from clearsight.testing.tiny_bundle import write_colour_bundle

LOGITS = np.random.default_rng(0).normal(0, 3, (400, 4)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 255, (400, 6, 6, 3), dtype=np.uint8)


class Runner:
    """Gives the mean colours as embeddings, slowly where asked."""

    def __init__(self, pause_s=0.0):
        self.pause_s, self.pictures = pause_s, 0

    def run(self, images_nhwc, outputs=("logits",)):
        assert outputs == ("embedding",)
        self.pictures += len(images_nhwc)
        time.sleep(self.pause_s)
        return {"embedding": images_nhwc.mean(axis=(1, 2)).astype(np.float32)}


def measure(runner=None, time_s=None):
    opener = None if runner is None else lambda model: runner
    return measure_reference(probabilities(LOGITS, 1.5), IMAGES, b"", opener, time_s)


def test_classes_and_scores_are_those_of_the_validation_pictures():
    found = measure()
    assert found.n == 400
    assert found.class_counts == tuple(np.bincount(LOGITS.argmax(axis=1), minlength=4))
    assert max(found.score_counts) < 60, "ten bins of about equal size"
    assert found.features is None


def test_features_are_of_pictures_from_everywhere():
    runner = Runner()
    sorted_by_class = IMAGES[np.argsort(IMAGES.mean(axis=(1, 2, 3)))]
    found = measure_reference(
        probabilities(LOGITS, 1.5), sorted_by_class, b"", lambda model: runner, None
    ).features
    assert (found.n, found.dimension, runner.pictures) == (PICTURES, 3, PICTURES)
    means = IMAGES.mean(axis=(1, 2))
    off = np.abs(np.array(found.means) - means.mean(axis=0)) / means.std(axis=0)
    assert off.max() < 0.25, "the first 256 would be the dark ones: off by 0.7"
    assert sum(found.eigenvalues) == pytest.approx(6, rel=1e-4), "a correlation's trace"


def test_features_take_a_fiftieth_of_the_time():
    runner = Runner(pause_s=0.05)
    found = measure(runner, time_s=20.0)  # allows 0.4 s: some batches of 16
    assert 16 <= runner.pictures <= 144
    assert (found.features is not None) == (runner.pictures >= LEAST_FEATURES)
    hurried = Runner()
    assert measure(hurried, time_s=10.0).features is None
    assert hurried.pictures == 0


def test_an_embedding_that_never_varies_is_no_direction():
    found = reference_of(np.eye(2, dtype=np.float32)[[0, 1] * 50], np.ones((100, 5), np.float32))
    assert found.features.deviations == (0.0,) * 5
    assert found.features.eigenvalues == ()


def test_bundles_without_a_reference_are_read_as_before(tmp_path):
    bundle = open_bundle(write_colour_bundle(tmp_path / "old").path)
    assert bundle.manifest.reference is None
    made = measure(Runner())
    with_it = write_colour_bundle(tmp_path / "new", reference=made)
    assert open_bundle(with_it.path).manifest.reference == made


@pytest.mark.parametrize(
    "change",
    [
        {"n": 3},
        {"score_counts": [1]},
        {"class_counts": [400, 1]},
        {"features": {"n": 5, "dimension": 2, "means": [0.0], "deviations": [0.0],
                      "square_deviations": [0.0], "eigenvalues": []}},
        {"unknown": 1},
        {"score_edges": [float("nan")] * 9},
    ],
)  # fmt: skip
def test_a_reference_that_does_not_add_up_is_refused(change):
    with pytest.raises(ConfigError):
        Reference.parse({**measure().model_dump(), **change})


def test_a_manifest_checks_its_reference(tmp_path):
    values = write_colour_bundle(tmp_path / "b").manifest.model_dump()
    with pytest.raises(ConfigError):
        Manifest.parse({**values, "reference": {"n": 0}})
