"""What makes a new recognizer trustworthy: calibration, conformal sets, rejection of unknowns.

All of it is fitted on validation pictures, once, for the recognizer that was chosen. Where there
are too few pictures nothing is fitted, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.calibration import probabilities
from clearsight.core.conformal import Conformal, fit_conformal
from clearsight.core.errors import DataError
from clearsight.core.rejection import Rejection
from clearsight.core.set_choice import best_sets, try_sets
from clearsight.core.vector_scaling import VectorScaling
from clearsight.learn.contest import Contest, Trained
from clearsight.learn.rejection import Evidence, fit_rejection
from clearsight.learn.trust_settings import TrustSettings
from clearsight.learn.vector_scaling import fit_vector_scaling, try_vector_scaling

LEAST_PICTURES = 20
"""Fewer validation pictures say nothing about how far scores can be believed."""


@dataclass(frozen=True)
class Trust:
    """What was fitted for one recognizer.

    Args:
        temperature: what scores are divided by.
        vector: vector scaling, where it is better.
        conformal: quantiles of conformal sets; None where none could be fitted.
        rejection: when a picture is not accepted; None where everything is.
        arrays: features that rejection needs, by name.
        figures: the judge's, on the validation part, as calibrated.
        told: for the story: what was tried, and what was not fitted and why (`refused`).
    """

    temperature: float
    vector: VectorScaling | None
    conformal: Conformal | None
    rejection: Rejection | None
    arrays: Mapping[str, NDArray[np.float32]]
    figures: dict[str, Any]
    told: dict[str, Any]


@dataclass
class _Notes:
    """Collects what was tried and refused."""

    told: dict[str, Any] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def fit_trust(best: Trained, contest: Contest, model: bytes) -> Trust:
    """Fit all that makes the chosen recognizer's answers trustworthy.

    Args:
        best: the chosen one, scored on validation.
        contest: where it was trained.
        model: its exported ONNX file.

    Returns:
        What was fitted; what could not be is None, and its reason stands in `told["refused"]`.
    """
    settings, notes = contest.settings.trust, _Notes()
    temperature = _temperature(best, contest, notes)
    single = contest.facts.task != "multi-label"
    vector = _vector(best, contest, temperature, notes) if single else None
    shares = probabilities(best.val_logits, temperature, contest.facts.task, vector)
    figures = best.figures
    if vector is not None or temperature != best.temperature:
        labels, classes = best.val.labels, contest.facts.classes
        figures = contest.seams.judge(shares, labels, classes, contest.facts.task)
    conformal, rejection, arrays = None, None, dict[str, NDArray[np.float32]]()
    if single:
        conformal = _conformal(shares, best, contest, notes)
    if single and settings.rejection != "off":
        evidence = _evidence(best, contest, temperature, vector, model)
        rejection, arrays = _rejection(evidence, settings, notes)
    for sentence in notes.refused:
        contest.progress.say(sentence)
    told = notes.told | {"refused": notes.refused}
    return Trust(temperature, vector, conformal, rejection, arrays, figures, told)


def _temperature(best: Trained, contest: Contest, notes: _Notes) -> float:
    n = len(best.val.labels)
    if n >= LEAST_PICTURES:
        return best.temperature
    notes.refused.append(
        f"Scores are not calibrated: that needs at least {LEAST_PICTURES} validation pictures, "
        f"there are {n}"
    )
    return 1.0


def _vector(
    best: Trained, contest: Contest, temperature: float, notes: _Notes
) -> VectorScaling | None:
    settings: TrustSettings = contest.settings.trust
    if settings.calibration == "temperature" or len(best.val.labels) < LEAST_PICTURES:
        return None
    if settings.calibration == "auto" and best.balanced:
        return None  # the remedy for uneven classes has moved the scores already
    trial = try_vector_scaling(best.val_logits, best.val.labels)
    if trial is None:
        if settings.calibration == "vector":
            notes.refused.append(
                "Vector scaling is not fitted: it needs at least 20 validation pictures of every "
                "class; one temperature serves all of them"
            )
        return None
    notes.told["calibration"] = asdict(trial)
    if settings.calibration == "auto" and not trial.pays:
        return None
    return fit_vector_scaling(best.val_logits, best.val.labels, temperature)


def _conformal(
    shares: NDArray[np.float32], best: Trained, contest: Contest, notes: _Notes
) -> Conformal | None:
    settings: TrustSettings = contest.settings.trust
    if settings.sets == "off":
        return None
    classes, labels = contest.facts.classes, best.val.labels
    try:
        method = settings.sets
        if method == "auto":
            trials = try_sets(shares, labels, classes)
            notes.told["sets"] = [asdict(trial) for trial in trials]
            method = best_sets(trials).method
        return fit_conformal(shares, labels, method, classes, settings.level)
    except DataError as error:
        notes.refused.append(str(error))
        return None


def _rejection(
    evidence: Evidence, settings: TrustSettings, notes: _Notes
) -> tuple[Rejection | None, dict[str, NDArray[np.float32]]]:
    try:
        return fit_rejection(evidence, settings)
    except DataError as error:
        notes.refused.append(str(error))
        return None, {}


def _evidence(
    best: Trained,
    contest: Contest,
    temperature: float,
    vector: VectorScaling | None,
    model: bytes,
) -> Evidence:
    train, _ = contest.pixels(best.preprocessing)
    return Evidence(
        logits=best.val_logits,
        labels=best.val.labels,
        images=best.val.images,
        temperature=temperature,
        vector=vector,
        train_images=train.images,
        train_labels=train.labels,
        model=model,
        open_model=contest.seams.open_for_few,
        features="embedding" in best.fitted.outputs,
        time_s=contest.settings.time_s,
    )
