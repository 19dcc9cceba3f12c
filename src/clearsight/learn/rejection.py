"""Chooses how a new recognizer tells known pictures from unknown ones, on validation pictures.

What is unknown is not known beforehand, so there are stand-ins: pictures made from the known ones
that show no class any more (`outliers`), and every class in turn as if the recognizer had never
heard of it: its score is struck out, its pictures are taken from the features.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.core.calibration import probabilities
from clearsight.core.errors import DataError
from clearsight.core.nouns import ImagesNHWC, Scores
from clearsight.core.rejection import (
    FEATURE_METHODS,
    REJECTION_FILE,
    REJECTION_METHODS,
    Familiarity,
    FeatureMemory,
    Features,
    Rejection,
    RejectionMethod,
    auroc,
    remember,
    score_familiarity,
    threshold_for,
)
from clearsight.core.seeds import generator
from clearsight.core.vector_scaling import VectorScaling
from clearsight.learn.family import OnnxRunner, OpenModel
from clearsight.learn.outliers import make_outliers
from clearsight.learn.trust_settings import TrustSettings

LEAST_PICTURES = 100
OUTLIERS_OF_A_KIND = 64
OUTLIER_BYTES = 256 * 1024 * 1024
LEAST_OUTLIERS = 64
KNOWN, LEAST_KNOWN = 300, 100
BANK, LEAST_BANK = 1024, 128
PICTURES_AT_ONCE = 16
SHARE_OF_TIME = 0.02
LEAST_TIME_S = 20.0
"""A training that may not take longer than this looks at no made-up pictures and no features."""
CLASSES_HELD_OUT = 20
LEAST_OF_A_CLASS = 5
HELD_OUT = "held-out classes"
BETTER = 0.01
"""A less simple way must be better by so much AUROC to be taken."""


@dataclass(frozen=True)
class Evidence:
    """What rejection is fitted on.

    Args:
        logits, labels, images: of the validation part, (n, k), (n,), (n, h, w, c).
        temperature, vector: the calibration.
        train_images, train_labels: of the training part.
        model: the exported ONNX file.
        open_model: opens it.
        features: it gives the output "embedding".
        time_s: the training's whole time, or None.
    """

    logits: Scores
    labels: NDArray[np.int64]
    images: ImagesNHWC
    temperature: float
    vector: VectorScaling | None
    train_images: ImagesNHWC
    train_labels: NDArray[np.int64]
    model: bytes
    open_model: OpenModel
    features: bool
    time_s: float | None

    def shares(self, logits: Scores) -> Scores:
        """Return calibrated probabilities of logits with all classes."""
        return probabilities(logits, self.temperature, vector=self.vector)


@dataclass(frozen=True)
class Seen:
    """What the model gave for pictures that were looked at again.

    Args:
        outliers: logits and embeddings of stand-ins, by kind; without features the latter are
            empty.
        known, known_labels: embeddings and classes of validation pictures.
        bank, bank_labels: the same of training pictures.
    """

    outliers: Mapping[str, tuple[Scores, Features]]
    known: Features
    known_labels: NDArray[np.int64]
    bank: Features
    bank_labels: NDArray[np.int64]

    @property
    def features(self) -> bool:
        """Whether there are enough embeddings to tell anything."""
        return len(self.known) >= LEAST_KNOWN and len(self.bank) >= LEAST_BANK


def fit_rejection(
    evidence: Evidence, settings: TrustSettings
) -> tuple[Rejection, dict[str, NDArray[np.float32]]]:
    """Return the best way to reject unknown pictures, and the features that it needs.

    Args:
        evidence: validation and training pictures.
        settings: which way, or "auto"; the share of known pictures to accept.

    Raises:
        DataError: too few pictures, or the asked for way cannot be fitted in the time.

    Source: the stand-ins follow Hendrycks et al. 2019, "Deep Anomaly Detection with Outlier
        Exposure" (synthetic outliers) and Neal et al. 2018, "Open Set Learning with Counterfactual
        Images" (held-out classes).
    """
    n = len(evidence.labels)
    if n < LEAST_PICTURES:
        raise DataError(
            f"Rejection of unknown pictures needs at least {LEAST_PICTURES} validation pictures, "
            f"got {n}: every picture is accepted. Hold out more with --set split.val."
        )
    seen = _look(evidence, settings)
    wanted = [m for m in REJECTION_METHODS if settings.rejection in ("auto", m)]
    able = [m for m in wanted if seen.features or m not in FEATURE_METHODS]
    if not able:
        raise DataError(
            f"Rejection by {settings.rejection} needs features of at least {LEAST_BANK} training "
            f"and {LEAST_KNOWN} validation pictures; got {len(seen.bank)} and {len(seen.known)} "
            "in the time: every picture is accepted. Give it more time or pictures."
        )
    tried = {method: _try(method, evidence, seen) for method in able}
    method = _best(tried)
    memory = remember(method, seen.bank, seen.bank_labels) if method in FEATURE_METHODS else None
    if memory is None:
        known = score_familiarity(method, evidence.logits, evidence.shares(evidence.logits))
    else:
        known = memory.familiarity(seen.known)
    threshold = threshold_for(known, settings.keep)
    fitted = Rejection(
        method=method,
        threshold=threshold,
        keeps=settings.keep,
        n=len(known),
        tried={key: {k: round(v, 4) for k, v in each.items()} for key, each in tried.items()},
        file=None if memory is None else REJECTION_FILE,
    )
    return fitted, {} if memory is None else dict(memory.arrays)


def _best(tried: Mapping[RejectionMethod, Mapping[str, float]]) -> RejectionMethod:
    """Return the simplest way that no other one beats by more than `BETTER`."""
    best, most = next(iter(tried)), -1.0
    for method, found in tried.items():
        made_up = [value for kind, value in found.items() if kind != HELD_OUT]
        parts = [float(np.mean(made_up))] if made_up else []
        parts += [found[HELD_OUT]] if HELD_OUT in found else []
        merit = float(np.mean(parts)) if parts else 0.5
        if merit > most + BETTER:
            best, most = method, merit
    return best


def _look(evidence: Evidence, settings: TrustSettings) -> Seen:
    """Run the model on stand-ins and, for features, on known pictures, while time lasts."""
    width = evidence.logits.shape[1]
    empty = np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
    if evidence.time_s is not None and evidence.time_s < LEAST_TIME_S:
        return Seen({}, *empty, *empty)
    seconds = float("inf") if evidence.time_s is None else SHARE_OF_TIME * evidence.time_s
    features = evidence.features and settings.rejection in ("auto", *FEATURE_METHODS)
    look = _Look(evidence.open_model(evidence.model), time.monotonic() + seconds, features)
    made = make_outliers(evidence.images, _outliers(evidence.images))
    kinds = list(made)
    mixed = np.stack(list(made.values()), axis=1).reshape(-1, *evidence.images.shape[1:])
    logits, vectors = look(mixed, np.arange(len(mixed)), width)
    outliers = {}
    if len(logits) >= LEAST_OUTLIERS:
        outliers = {
            kind: (logits[place :: len(kinds)], vectors[place :: len(kinds)])
            for place, kind in enumerate(kinds)
        }
    if not features:
        return Seen(outliers, *empty, *empty)
    rows = _some(len(evidence.labels), KNOWN, "known")
    known = look(evidence.images, rows, width)[1]
    bank_rows = _some(len(evidence.train_labels), BANK, "bank")
    bank = look(evidence.train_images, bank_rows, width)[1]
    return Seen(
        outliers,
        known,
        evidence.labels[rows[: len(known)]],
        bank,
        evidence.train_labels[bank_rows[: len(bank)]],
    )


@dataclass(frozen=True)
class _Look:
    """Runs the model piece by piece until the time is over; the first piece always."""

    runner: OnnxRunner
    deadline: float
    features: bool

    def __call__(
        self, images: ImagesNHWC, rows: NDArray[np.int64], width: int
    ) -> tuple[Scores, Features]:
        names = ("logits", "embedding") if self.features else ("logits",)
        logits, vectors = [np.zeros((0, width), np.float32)], list[Features]()
        for start in range(0, len(rows), PICTURES_AT_ONCE):
            if start and time.monotonic() > self.deadline:
                break
            part = np.ascontiguousarray(images[rows[start : start + PICTURES_AT_ONCE]])
            found = self.runner.run(part, names)
            logits.append(found["logits"])
            if self.features:
                vectors.append(found["embedding"].reshape(len(part), -1))
        told = np.concatenate(logits)
        empty = np.zeros((len(told), 0), np.float32)
        return told, np.concatenate(vectors) if vectors else empty


def _try(method: RejectionMethod, evidence: Evidence, seen: Seen) -> dict[str, float]:
    """Return the AUROC of one way for every kind of stand-in."""
    memory = remember(method, seen.bank, seen.bank_labels) if method in FEATURE_METHODS else None
    found = {}
    if memory is None:
        known = score_familiarity(method, evidence.logits, evidence.shares(evidence.logits))
    else:
        known = memory.familiarity(seen.known)
    for kind, (logits, vectors) in seen.outliers.items():
        unknown = (
            score_familiarity(method, logits, evidence.shares(logits))
            if memory is None
            else memory.familiarity(vectors)
        )
        found[kind] = auroc(known, unknown)
    labels = evidence.labels if memory is None else seen.known_labels
    held = [
        auroc(familiarity[labels != column], familiarity[labels == column])
        for column in _held_out(labels, evidence.logits.shape[1])
        for familiarity in [_without(column, method, evidence, seen)]
    ]
    if held:
        found[HELD_OUT] = float(np.mean(held))
    return found


def _held_out(labels: NDArray[np.int64], k: int) -> list[int]:
    """Return at most 20 classes, spread evenly, that can be played to be unknown."""
    counts = np.bincount(labels, minlength=k)
    fitting = np.flatnonzero(counts >= LEAST_OF_A_CLASS)
    if k < 3 or len(fitting) < 2:
        return []
    places = np.linspace(0, len(fitting) - 1, min(CLASSES_HELD_OUT, len(fitting)))
    return [int(fitting[int(place)]) for place in places.round()]


def _without(column: int, method: RejectionMethod, evidence: Evidence, seen: Seen) -> Familiarity:
    """Return the familiarity of known pictures to a recognizer that lacks a class."""
    if method in FEATURE_METHODS:
        others = seen.bank_labels != column
        memory: FeatureMemory = remember(method, seen.bank[others], seen.bank_labels[others])
        return memory.familiarity(seen.known)
    logits = np.delete(evidence.logits, column, axis=1)
    return score_familiarity(method, logits, probabilities(logits, evidence.temperature))


def _outliers(images: ImagesNHWC) -> int:
    """Return how many stand-ins of a kind fit into memory."""
    fitting = OUTLIER_BYTES // (4 * int(np.prod(images.shape[1:])))
    return max(LEAST_OUTLIERS // 4, min(OUTLIERS_OF_A_KIND, fitting))


def _some(n: int, most: int, name: str) -> NDArray[np.int64]:
    return generator(0, "rejection", name).permutation(n)[:most]
