"""Runs a Bundle's golden pictures and compares with the scores they must give."""

from __future__ import annotations

import json

import numpy as np

from clearsight.core.agreement import agreement
from clearsight.core.bundle import GOLDEN_SCORES
from clearsight.core.calibration import probabilities
from clearsight.core.errors import BundleError
from clearsight.core.nouns import ImagesNHWC, Scores
from clearsight.engines.predictor import BundlePredictor


def verify_golden(predictor: BundlePredictor) -> float:
    """Check that this engine, on this machine, gives the scores that were recorded in training.

    Costs a few pictures' time; done when a service starts, by `doctor` and after a Bundle moved.
    A variant of lower precision must name the same classes and may be off by its own tolerance.

    Args:
        predictor: an opened Bundle.

    Returns:
        The largest difference of a probability from the recorded one.

    Raises:
        BundleError: no golden pictures, or other scores.
    """
    bundle, manifest = predictor.bundle, predictor.manifest
    images, expected = golden_pictures(predictor)
    seen = agreement(expected, predictor.probabilities(images), manifest.steps)
    if predictor.variant:
        allowed = manifest.variants[predictor.variant].tolerance
        holds = _same_answers(expected, predictor.probabilities(images), allowed)
    else:
        allowed, holds = seen.allowed, seen.holds
    if not holds:
        what = f"the variant {predictor.variant} on " if predictor.variant else ""
        raise BundleError(
            f"{bundle.path}: {what}{predictor.engine} gives other scores than were recorded in "
            f"training (same label for {seen.same_label:.0%} of {seen.n} golden pictures, "
            f"probabilities off by up to {seen.max_difference:.2g}, allowed {allowed:g}). Use "
            "another engine with --engine and report this."
        )
    return seen.max_difference


def golden_pictures(predictor: BundlePredictor) -> tuple[ImagesNHWC, Scores]:
    """Return a Bundle's golden pictures, prepared, and the probabilities (n, k) they must give.

    Raises:
        BundleError: there are none, or they do not fit the Bundle.
    """
    bundle, manifest = predictor.bundle, predictor.manifest
    try:
        recorded = json.loads(bundle.read(GOLDEN_SCORES))
        names = [str(name) for name in recorded["images"]]
        wanted = np.array(recorded["logits"], dtype=np.float32)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{bundle.path}: {GOLDEN_SCORES} is damaged: {error}.") from error
    if not names or wanted.shape != (len(names), len(predictor.classes)):
        raise BundleError(f"{bundle.path}: {GOLDEN_SCORES} does not fit the Bundle's classes.")
    images = np.stack([predictor.prepare(bundle.read(name)) for name in names])
    shares = probabilities(wanted, manifest.temperature, manifest.task, manifest.vector)
    return images, shares


def _same_answers(wanted: Scores, got: Scores, tolerance: float) -> bool:
    """Whether the best classes are the same (those nearer than `tolerance` may change places)."""
    behind = wanted.max(axis=1) - wanted[np.arange(len(wanted)), got.argmax(axis=1)]
    return bool((behind <= tolerance).all() and (np.abs(wanted - got) <= tolerance).all())
