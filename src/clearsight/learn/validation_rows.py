"""Scores on validation pictures within the time: on all, or on as many of the same random ones."""

from __future__ import annotations

import time

import numpy as np

from clearsight.core.nouns import Scores
from clearsight.core.progress import Progress
from clearsight.core.seeds import generator
from clearsight.data.cache import PixelCache
from clearsight.learn.family import Fitted

TIMED_PICTURES = 32
FEWEST_PICTURES = 250
SAFETY = 0.75  # a large batch can be slower, picture by picture, than the timed one


def score_in_time(
    fitted: Fitted, val: PixelCache, seed: int, seconds: float, progress: Progress
) -> tuple[PixelCache, Scores]:
    """Return the validation pictures that were scored, and (n, classes) logits of them.

    One order of the pictures, drawn by the seed, serves all recognizers: of two that were scored
    on different numbers of pictures, the fewer ones are among the more.

    Args:
        fitted: the recognizer.
        val: the validation part.
        seed: draws the order.
        seconds: what scoring may take; infinite for all pictures.
        progress: told when only a part is scored.
    """
    n = len(val.labels)
    if seconds == float("inf") or n <= FEWEST_PICTURES:
        return val, fitted.logits(np.asarray(val.images))
    order = generator(seed, "validation rows").permutation(n)
    part = np.asarray(val.images[np.sort(order[:TIMED_PICTURES])])
    fitted.logits(part)  # the first run allocates and compiles
    began = time.monotonic()
    fitted.logits(part)
    fits = int(SAFETY * max(0.0, seconds) * len(part) / (time.monotonic() - began))
    if fits >= n:
        return val, fitted.logits(np.asarray(val.images))
    scored = val.take(np.sort(order[: max(FEWEST_PICTURES, fits)]))
    progress.say(
        f"{len(scored.labels)} of {n} validation pictures are scored",
        reason="all of them would take longer than there is time",
    )
    return scored, fitted.logits(np.asarray(scored.images))
