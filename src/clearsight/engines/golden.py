"""Runs a Bundle's golden pictures and compares with the scores they must give."""

from __future__ import annotations

import json

import numpy as np

from clearsight.core.agreement import agreement
from clearsight.core.bundle import GOLDEN_SCORES
from clearsight.core.calibration import probabilities
from clearsight.core.errors import BundleError
from clearsight.engines.predictor import BundlePredictor


def verify_golden(predictor: BundlePredictor) -> float:
    """Check that this engine, on this machine, gives the scores that were recorded in training.

    Costs a few pictures' time; done when a service starts, by `doctor` and after a Bundle moved.

    Args:
        predictor: an opened Bundle.

    Returns:
        The largest difference of a probability from the recorded one.

    Raises:
        BundleError: no golden pictures, or other scores.
    """
    bundle = predictor.bundle
    try:
        recorded = json.loads(bundle.read(GOLDEN_SCORES))
        names = [str(name) for name in recorded["images"]]
        wanted = np.array(recorded["logits"], dtype=np.float32)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{bundle.path}: {GOLDEN_SCORES} is damaged: {error}.") from error
    if not names or wanted.shape != (len(names), len(predictor.classes)):
        raise BundleError(f"{bundle.path}: {GOLDEN_SCORES} does not fit the Bundle's classes.")
    images = np.stack([predictor.prepare(bundle.read(name)) for name in names])
    manifest = predictor.manifest
    expected = probabilities(wanted, manifest.temperature, manifest.task)
    seen = agreement(expected, predictor.probabilities(images), manifest.steps)
    if not seen.holds:
        raise BundleError(
            f"{bundle.path}: {predictor.engine} gives other scores than were recorded in training "
            f"(same label for {seen.same_label:.0%} of {seen.n} golden pictures, probabilities "
            f"off by up to {seen.max_difference:.2g}, allowed {seen.allowed:g}). Use another "
            "engine with --engine and report this."
        )
    return seen.max_difference
