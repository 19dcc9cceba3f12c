"""Rejection of unknowns: how familiar a picture looks, and from where on it is accepted.

Familiarity is higher for pictures like those the recognizer was made from. It comes from the scores
alone, or from the model's feature vector beside those of training pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from clearsight.core.config import Config
from clearsight.core.errors import DataError
from clearsight.core.nouns import Scores
from clearsight.core.reference import directions

RejectionMethod = Literal["max-softmax", "energy", "k-nearest", "mahalanobis"]
REJECTION_METHODS: tuple[RejectionMethod, ...] = (
    "max-softmax",
    "energy",
    "k-nearest",
    "mahalanobis",
)
"""The simplest first."""
FEATURE_METHODS: tuple[RejectionMethod, ...] = ("k-nearest", "mahalanobis")
REJECTION_FILE = "rejection.safetensors"
FEATURES = 256
"""Longer feature vectors are looked at in so many fixed directions."""
NEIGHBOUR = 5
BANK = "bank"
MEANS = "means"
WHITENING = "whitening"

Familiarity = NDArray[np.float64]
Features = NDArray[np.float32]


class Rejection(Config):
    """When a recognizer says that it does not know a picture.

    Args:
        method: what familiarity is.
        threshold: a picture that is less familiar is not accepted.
        keeps: share of held-out pictures of the known classes that is accepted.
        n: held-out pictures that the threshold was taken from.
        tried: by method, the area under the ROC curve (AUROC) of familiarity, known against
            unknown, for each kind of stand-in for the unknown.
        file: where the Bundle holds the features; None where none are needed.
    """

    method: RejectionMethod
    threshold: float
    keeps: float = Field(gt=0, lt=1)
    n: int = Field(ge=1)
    tried: dict[str, dict[str, float]] = Field(default_factory=dict)
    file: str | None = None

    @model_validator(mode="after")
    def _has_features(self) -> Rejection:
        if (self.file is not None) != self.needs_features:
            raise ValueError(f"the method {self.method} and the file {self.file!r} do not fit")
        return self

    @property
    def needs_features(self) -> bool:
        """Whether familiarity comes from the model's feature vectors."""
        return self.method in FEATURE_METHODS


@dataclass(frozen=True)
class FeatureMemory:
    """Features of training pictures, as familiarity needs them.

    Args:
        arrays: "bank" (m, d) unit vectors for "k-nearest"; "means" (k, d) and "whitening" (d, d)
            for "mahalanobis"; float32.

    Raises:
        DataError: the arrays do not fit each other.
    """

    arrays: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        shapes = {name: value.shape for name, value in self.arrays.items()}
        pair = {MEANS, WHITENING}
        whole = set(shapes) == {BANK} or set(shapes) == pair
        two = all(len(shape) == 2 and 0 not in shape for shape in shapes.values())
        fits = set(shapes) != pair or shapes[WHITENING] == (shapes[MEANS][1],) * 2
        finite = all(np.isfinite(value).all() for value in self.arrays.values())
        if not (whole and two and fits and finite):
            raise DataError(f"Features for rejection do not fit each other: {shapes}.")

    def familiarity(self, embeddings: Features) -> Familiarity:
        """Return (n,) of embeddings (n, d): minus the distance from what is known.

        Raises:
            DataError: embeddings of another length.
        """
        seen = project(embeddings)
        width = next(iter(self.arrays.values())).shape[1]
        if seen.shape[1] != width:
            raise DataError(
                f"The model's features have {seen.shape[1]} directions, rejection knows {width}."
            )
        if BANK in self.arrays:
            return _nearness(unit(seen), self.arrays[BANK])
        whitened = seen @ self.arrays[WHITENING].T
        centres = self.arrays[MEANS] @ self.arrays[WHITENING].T
        return np.asarray(-_square_distances(whitened, centres).min(axis=1))


def score_familiarity(
    method: RejectionMethod, logits: Scores, probabilities: Scores
) -> Familiarity:
    """Return the familiarity (n,) of pictures from their scores alone.

    Args:
        method: "max-softmax" or "energy".
        logits: (n, k) as the model gives them.
        probabilities: (n, k) calibrated.

    Source: Hendrycks and Gimpel 2017, "A Baseline for Detecting Misclassified and
        Out-of-Distribution Examples in Neural Networks"; Liu et al. 2020, "Energy-based
        Out-of-distribution Detection", equation 4 (minus the energy, temperature 1).

    Example:
        >>> rows = np.log(np.array([[3.0, 1.0]], np.float32))
        >>> round(float(np.exp(score_familiarity("energy", rows, rows)[0])), 6)
        4.0
    """
    if method == "max-softmax":
        return np.asarray(probabilities.max(axis=1), dtype=np.float64)
    scores = np.asarray(logits, dtype=np.float64)
    highest = scores.max(axis=1, keepdims=True)
    powers = np.exp(scores - highest).sum(axis=1)
    return np.asarray(highest[:, 0] + np.log(powers))


def remember(
    method: RejectionMethod, embeddings: Features, labels: NDArray[np.integer]
) -> FeatureMemory:
    """Return what familiarity needs to know of training pictures.

    Args:
        method: "k-nearest" or "mahalanobis".
        embeddings: (m, d) of training pictures.
        labels: (m,) their classes.

    Source: Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors" (unit
        vectors, distance to the k-th nearest); Lee et al. 2018, "A Simple Unified Framework for
        Detecting Out-of-Distribution Samples and Adversarial Attacks", equation 2 (one
        covariance for all classes, here shrunk as by Ledoit and Wolf).
    """
    seen = project(embeddings)
    if method == "k-nearest":
        return FeatureMemory({BANK: np.ascontiguousarray(unit(seen))})
    kinds, place = np.unique(labels, return_inverse=True)
    means = np.stack([seen[place == kind].mean(axis=0) for kind in range(len(kinds))])
    whitening = _whitening(seen.astype(np.float64) - means[place])
    return FeatureMemory({MEANS: means.astype(np.float32), WHITENING: whitening})


def project(embeddings: Features) -> Features:
    """Return embeddings (n, d), those longer than 256 in 256 fixed directions.

    Source: Johnson and Lindenstrauss 1984; Achlioptas 2003 (signs): distances keep their ratios.
    """
    flat = np.asarray(embeddings, dtype=np.float32).reshape(len(embeddings), -1)
    if flat.shape[1] <= FEATURES:
        return flat
    projected: Features = flat @ directions(flat.shape[1], FEATURES)
    return projected


def unit(rows: Features) -> Features:
    """Return rows (n, d) of length 1; zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)


def auroc(known: Familiarity, unknown: Familiarity) -> float:
    """Return how often a known picture is more familiar than an unknown one; ties count half.

    Source: Hanley and McNeil 1982, "The Meaning and Use of the Area under a Receiver Operating
        Characteristic (ROC) Curve".

    Example:
        >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
        0.875
    """
    ranked = np.sort(unknown)
    below = np.searchsorted(ranked, known, side="left")
    upto = np.searchsorted(ranked, known, side="right")
    return float((below + upto).mean() / (2 * len(ranked)))


def threshold_for(known: Familiarity, keep: float) -> float:
    """Return the threshold that accepts at least the share `keep` of known pictures.

    Args:
        known: (n,) familiarity of held-out pictures of the known classes.
        keep: in (0, 1).

    Example:
        >>> threshold_for(np.arange(100.0), 0.95)
        5.0
    """
    place = int(np.floor((1 - keep) * len(known) + 1e-9))
    return float(np.partition(known, place)[place])


def _nearness(rows: Features, bank: Features) -> Familiarity:
    """Return minus the distance (n,) to the k-th nearest of the bank."""
    kth = min(NEIGHBOUR, len(bank)) - 1
    squares = _square_distances(rows, bank)
    return np.asarray(-np.sqrt(np.partition(squares, kth, axis=1)[:, kth]))


def _square_distances(rows: Features, others: Features) -> Familiarity:
    """Return (n, m), never below 0; each row's are the same in any batch to rounding."""
    lengths = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)[:, None]
    other_lengths = np.einsum("md,md->m", others, others, dtype=np.float64)
    squares: Familiarity = np.maximum(lengths + other_lengths - 2.0 * (rows @ others.T), 0.0)
    return squares


def _whitening(centred: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return W (d, d) with W.T @ W the inverse of the shrunk covariance of centred rows (m, d).

    Source: Ledoit and Wolf 2004, "A Well-Conditioned Estimator for Large-Dimensional Covariance
        Matrices", lemma 3.3.
    """
    m, d = centred.shape
    covariance = centred.T @ centred / m
    middle = float(np.trace(covariance)) / d
    target = middle * np.eye(d)
    spread = float(np.square(covariance - target).sum())
    noise = float((np.square(centred).sum(axis=1) ** 2).sum() / m - np.square(covariance).sum()) / m
    shrinkage = 1.0 if spread <= 0 else min(1.0, max(0.0, noise / spread))
    shrunk = (1 - shrinkage) * covariance + shrinkage * target
    values, vectors = np.linalg.eigh(shrunk)
    floor = max(float(values[-1]) * 1e-6, 1e-12)
    return np.asarray((vectors / np.sqrt(np.maximum(values, floor))).T, dtype=np.float32)
