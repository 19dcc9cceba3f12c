"""What can be done for a trained recognizer when it answers, and what that brings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import ConfigError, ImageError, UnknownKeyError, UsageError
from clearsight.core.nouns import PRESENT, ImagesNHWC, Predictor
from clearsight.core.seeds import generator

if TYPE_CHECKING:
    from clearsight.data.dataset import Dataset
    from clearsight.engines.predictor import BundlePredictor

FLIPS, ADAPT = "flips", "adapt"
WAYS = (FLIPS, ADAPT)
COMPARED = 2000
"""Pictures on which the gain is measured, at most."""
MOST_ADAPTED = 512
"""Pictures of each kind whose statistics are measured, at most."""
AT_ONCE = 64
SAME = 1e-4
SURE = 1.96


def answering_with(
    plain: BundlePredictor, way: str, run: Path, dataset: Dataset, engine: str | None = None
) -> BundlePredictor:
    """Return the recognizer with something done for it when it answers.

    Args:
        plain: the opened recognizer.
        way: "flips" answers with the mean of a picture and its mirror image; "adapt" fits the
            network's inner statistics to pictures of `dataset`, without their labels.
        run: the RUN; "adapt" compares with its validation part.
        dataset: what it is to be used on.
        engine: which engine runs the adapted model; None takes the one of `plain`.

    Raises:
        UnknownKeyError: no such way.
        UsageError: it would do nothing, or cannot be done for this recognizer.
    """
    from clearsight.engines.mirrored import MirroredSession
    from clearsight.engines.predictor import BundlePredictor

    if way not in WAYS:
        raise UnknownKeyError("test-time option", way, WAYS)
    if way == FLIPS:
        _check_flips(plain, _prepared(plain, dataset, AT_ONCE))
        return BundlePredictor(plain.bundle, MirroredSession(plain.session), plain.variant)
    return _adapted(plain, run, dataset, engine or plain.engine)


def measured_gain(plain: Predictor, helped: Predictor, dataset: Dataset) -> dict[str, Any]:
    """Return what a test-time option brings, on the same pictures with and without it.

    Args:
        plain, helped: the recognizer without and with it.
        dataset: labelled; a fixed draw of at most `COMPARED` pictures is scored.

    Returns:
        {"n", "plain", "accuracy", "points", "points_ci"}: points of accuracy gained, with a 95 %
        interval of the paired difference (None for fewer than two pictures).

    Raises:
        UsageError: none of the pictures can be decoded.
    """
    rows = _rows(dataset, COMPARED)
    gained: list[NDArray[np.float64]] = []
    was: list[NDArray[np.float64]] = []
    for first in range(0, len(rows), AT_ONCE):
        images, kept = _decoded(plain, dataset, rows[first : first + AT_ONCE])
        if not kept:
            continue
        truth = _truth(plain, dataset, kept)
        before, after = (_right(one, images, truth) for one in (plain, helped))
        gained.append(100 * (after - before))
        was.append(before)
    if not gained:
        raise UsageError(f"{dataset.root}: none of the pictures can be decoded.")
    lost, base = np.concatenate(gained), np.concatenate(was)
    n, points = len(lost), float(lost.mean())
    error = SURE * float(lost.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return {
        "n": n,
        "plain": round(float(base.mean()), 4),
        "accuracy": round(float(base.mean() + points / 100), 4),
        "points": round(points, 2),
        "points_ci": [round(points - error, 2), round(points + error, 2)] if n > 1 else None,
    }


def _adapted(plain: BundlePredictor, run: Path, dataset: Dataset, engine: str) -> BundlePredictor:
    from clearsight.api.scoring import as_trained
    from clearsight.core.bundle import MODEL
    from clearsight.engines.open import open_session
    from clearsight.engines.predictor import BundlePredictor, answering_outputs
    from clearsight.learn.adaptation import adapted_model, most_pictures

    if plain.variant:
        raise UsageError(
            f"The variant {plain.variant!r} cannot be adapted; adapt the model of full precision "
            "(leave --variant out)."
        )
    if plain.manifest.family == "classical":
        raise ConfigError(
            "A classical recognizer has no inner statistics to adapt. Harden it while it is "
            "trained, for example with --harden noise."
        )
    size = plain.preprocessing
    few = min(MOST_ADAPTED, most_pictures(size.height, size.width))
    reference = _prepared(plain, as_trained(run).part("val"), few)
    model = adapted_model(plain.bundle.read(MODEL), reference, _prepared(plain, dataset, few))
    outputs = answering_outputs(plain.manifest)
    return BundlePredictor(plain.bundle, open_session(model, engine, outputs=outputs))


def _check_flips(plain: BundlePredictor, images: ImagesNHWC) -> None:
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    one, two = plain.logits(images), plain.logits(mirrored)
    if float(np.abs(one - two).max()) <= SAME * max(1.0, float(np.abs(one).max())):
        raise UsageError(
            "flips would do nothing: this recognizer gives a picture and its mirror image the "
            "same scores already. Leave it out."
        )


def _prepared(plain: Predictor, dataset: Dataset, most: int) -> ImagesNHWC:
    images, kept = _decoded(plain, dataset, _rows(dataset, most))
    if not kept:
        raise UsageError(f"{dataset.root}: none of the pictures can be decoded.")
    return images


def _rows(dataset: Dataset, most: int) -> NDArray[np.int64]:
    order = generator(0, "test time").permutation(len(dataset.samples))
    return np.sort(order[:most])


def _decoded(
    plain: Predictor, dataset: Dataset, rows: Sequence[int] | NDArray[np.int64]
) -> tuple[ImagesNHWC, list[int]]:
    """Return prepared pictures and which of the rows could be decoded."""
    images, kept = [], []
    for row in rows:
        try:
            images.append(plain.prepare(dataset.encoded(int(row))))
        except ImageError:
            continue
        kept.append(int(row))
    size = plain.preprocessing
    empty = np.zeros((0, size.height, size.width, size.channels), np.uint8)
    return (np.stack(images) if images else empty), kept


def _truth(plain: Predictor, dataset: Dataset, rows: list[int]) -> NDArray[np.int64]:
    """Return (n, classes) of 0 and 1 in the recognizer's order of classes."""
    places = {name: place for place, name in enumerate(plain.classes)}
    truth = np.zeros((len(rows), len(places)), np.int64)
    for at, row in enumerate(rows):
        for name in dataset.label_names(row):
            truth[at, places[name]] = 1
    return truth


def _right(one: Predictor, images: ImagesNHWC, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (n,) 1 where the best class is the true one; of several labels, the share."""
    shares = one.probabilities(images)
    if one.task == "multi-label":
        return np.asarray(((shares >= PRESENT) == (truth > 0)).mean(axis=1), np.float64)
    return np.asarray(truth[np.arange(len(truth)), shares.argmax(axis=1)], np.float64)


def answering_gain(
    run: Path, data: Path | None, way: str, engine: str | None = None, variant: str | None = None
) -> dict[str, Any]:
    """Return what a test-time option brings a recognizer on labelled pictures.

    Args:
        run: RUN or Bundle; "adapt" needs the RUN.
        data: labelled pictures; None takes the test part of what RUN was trained on.
        way: "flips" or "adapt".
        engine, variant: see `api.evaluate_run`.

    Returns:
        {"way", ...}, see `measured_gain`.

    Raises:
        UnknownKeyError, UsageError: see `answering_with`.
    """
    from clearsight.api.scoring import held_out, labelled
    from clearsight.engines.open import open_predictor

    dataset, _ = held_out(run) if data is None else labelled(data)
    plain = open_predictor(run, engine, variant=variant)
    helped = answering_with(plain, way, run, dataset, engine)
    return {"way": way, **measured_gain(plain, helped, dataset)}
