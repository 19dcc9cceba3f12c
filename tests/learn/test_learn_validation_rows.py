"""Validation pictures are scored within the time, the same ones for all recognizers."""

import time

import numpy as np

from clearsight.core.progress import Silent
from clearsight.data.cache import PixelCache
from clearsight.learn.validation_rows import FEWEST_PICTURES, score_in_time


class Slow:
    """A recognizer that takes `seconds` a picture; its logit is the picture's number."""

    def __init__(self, seconds):
        self.seconds, self.scored = seconds, 0

    def logits(self, images):
        time.sleep(self.seconds * len(images))
        self.scored += len(images)
        return images[:, 0, 0, 0].astype(np.float32)[:, None] * [1.0, -1.0]


def part(n):
    images = (np.arange(n) % 251).astype(np.uint8).reshape(n, 1, 1, 1)
    return PixelCache(images, np.arange(n) % 2, 10 + np.arange(n), ())


def test_all_are_scored_where_there_is_time():
    val = part(600)
    for seconds in (float("inf"), 1e6):
        scored, logits = score_in_time(Slow(0), val, 0, seconds, Silent())
        assert scored is val
        assert logits.shape == (600, 2)


def test_fewer_are_scored_where_there_is_not_and_fewer_are_among_more():
    val, found = part(3000), []
    for seconds in (0.0, 0.4, 0.8):
        slow, began = Slow(0.001), time.monotonic()
        scored, logits = score_in_time(slow, val, 5, seconds, Silent())
        assert time.monotonic() - began < seconds + 0.001 * FEWEST_PICTURES + 1
        np.testing.assert_array_equal(logits[:, 0], scored.images[:, 0, 0, 0])
        np.testing.assert_array_equal(scored.labels, val.labels[scored.kept - 10])
        found.append(set(scored.kept.tolist()))
    assert len(found[0]) == FEWEST_PICTURES
    assert found[0] < found[2]
    assert min(found, key=len) <= max(found, key=len)


def test_few_pictures_are_all_scored():
    scored, _ = score_in_time(Slow(0), part(FEWEST_PICTURES), 0, 0.0, Silent())
    assert len(scored.labels) == FEWEST_PICTURES
