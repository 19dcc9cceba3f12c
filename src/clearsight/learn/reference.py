"""Measures what a new recognizer gives for its validation pictures; see `core.reference`."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImagesNHWC, Scores
from clearsight.core.reference import Reference, reference_of
from clearsight.core.seeds import generator
from clearsight.learn.family import OpenModel

PICTURES = 256
"""Embeddings are taken of so many validation pictures at most."""
PICTURES_AT_ONCE = 16
SHARE_OF_TIME = 0.02
LEAST_TIME_S = 20.0
"""A training that may not take longer than this leaves features out."""


def measure_reference(
    shares: Scores,
    images: ImagesNHWC,
    model: bytes,
    open_model: OpenModel | None,
    time_s: float | None,
) -> Reference:
    """Return the reference of a new Bundle.

    Classes and scores are those that are known already and cost nothing. Embeddings come from the
    exported model, as they will in service, for as many pictures as a fiftieth of the training's
    time allows.

    Args:
        shares: (n, classes) calibrated probabilities of all validation pictures.
        images: (n, h, w, c) uint8 of the same pictures.
        model: the exported ONNX file.
        open_model: opens it; None where it gives no embedding.
        time_s: the training's whole time, or None.
    """
    embeddings = None
    if open_model is not None and (time_s is None or time_s >= LEAST_TIME_S):
        seconds = float("inf") if time_s is None else SHARE_OF_TIME * time_s
        rows = generator(0, "reference").permutation(len(images))[:PICTURES]
        embeddings = _embeddings(images, rows, model, open_model, seconds)
    return reference_of(shares, embeddings)


def _embeddings(
    images: ImagesNHWC,
    rows: NDArray[np.int64],
    model: bytes,
    open_model: OpenModel,
    seconds: float,
) -> NDArray[np.float32]:
    runner = open_model(model)
    began = time.monotonic()
    found: list[NDArray[np.float32]] = []
    took = 0.0
    for start in range(0, len(rows), PICTURES_AT_ONCE):
        if found and time.monotonic() - began + took > seconds:
            break
        started = time.monotonic()
        part = np.asarray(images[rows[start : start + PICTURES_AT_ONCE]])
        found.append(runner.run(part, ("embedding",))["embedding"])
        took = time.monotonic() - started
    joined = np.concatenate(found)
    return joined.reshape(len(joined), -1)
