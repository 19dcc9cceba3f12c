"""Randomized smoothing: how far a picture may be changed before the answer can change, proven.

The recognizer is asked about many noisy copies of a picture, and the class most of them get is the
answer of the *smoothed* recognizer. Its radius is exact mathematics over the share of the votes, so
it holds for any recognizer, SIFT and int8 alike: rounding the noisy copy is part of the recognizer.

Source: Cohen, Rosenfeld and Kolter 2019, "Certified Adversarial Robustness via Randomized
    Smoothing".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import UsageError
from clearsight.core.nouns import ImageHWC, ImagesNHWC, Scores
from clearsight.core.proportions import clopper_pearson_low, wilson
from clearsight.robust.pictures import random_of

Logits = Callable[[ImagesNHWC], Scores]
ALPHA = 0.001
CHOOSING, VOTING = 64, 1000
BATCH_BYTES = 16 * 1024 * 1024
RADII = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Certified:
    """The smoothed recognizer's answer for one picture.

    Args:
        column: the class; None where the votes are too even to say (abstained).
        radius: L2 distance within which the answer cannot change, with pixels from 0 to 1; the
            statement is wrong with probability 0.001 at most. 0 where it abstained.
    """

    column: int | None
    radius: float


@dataclass(frozen=True)
class Certificate:
    """What was proven of several pictures.

    Args:
        sigma: standard deviation of the noise, with pixels from 0 to 1.
        votes: noisy copies a picture.
        n: pictures.
        right: of them, smoothed answers that are right.
        abstained: of them, without an answer.
        at_radius: right with a radius of at least so much (L2, pixels from 0 to 1).
    """

    sigma: float
    votes: int
    n: int
    right: int
    abstained: int
    at_radius: dict[float, int]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; shares with their 95 % intervals."""
        return {
            "sigma": self.sigma,
            "votes": self.votes,
            "alpha": ALPHA,
            "n": self.n,
            "accuracy": self.right / self.n,
            "accuracy_ci": list(wilson(self.right, self.n)),
            "abstained": self.abstained,
            "at_radius": {
                f"{radius:g}": count / self.n for radius, count in self.at_radius.items()
            },
        }


def certify(
    logits: Logits, image: ImageHWC, sigma: float, seed: int, votes: int = VOTING
) -> Certified:
    """Return the smoothed answer for one picture and the radius within which it is certain.

    Args:
        logits: of uint8 pictures (n, h, w, c).
        image: (h, w, c) uint8.
        sigma: standard deviation of the noise, with pixels from 0 to 1.
        seed: of the noise.
        votes: noisy copies to count.

    Raises:
        UsageError: sigma is not above 0, or fewer than one vote.

    Source: Cohen et al. 2019, algorithm CERTIFY.

    Example:
        >>> sure = lambda images: np.tile(np.array([[1, 0]], np.float32), (len(images), 1))
        >>> round(certify(sure, np.zeros((2, 2, 1), np.uint8), 0.25, seed=0).radius, 2)
        0.62
    """
    if not sigma > 0 or votes < 1:
        raise UsageError(
            f"A certificate needs sigma above 0 and a vote or more; got {sigma} and {votes}."
        )
    random = random_of(seed, 0)
    chosen = int(_votes(logits, image, sigma, CHOOSING, random).argmax())
    counted = _votes(logits, image, sigma, votes, random)
    low = clopper_pearson_low(int(counted[chosen]), votes, ALPHA)
    if low <= 0.5:
        return Certified(None, 0.0)
    return Certified(chosen, sigma * NormalDist().inv_cdf(low))


def certify_all(
    logits: Logits,
    images_nhwc: ImagesNHWC,
    labels: NDArray[np.int64],
    sigma: float,
    seed: int,
    votes: int = VOTING,
) -> Certificate:
    """Return what can be proven of several labelled pictures; see `certify`."""
    found = [
        certify(logits, image, sigma, seed + index, votes)
        for index, image in enumerate(images_nhwc)
    ]
    right = [
        one.radius for one, label in zip(found, labels.tolist(), strict=True) if one.column == label
    ]
    return Certificate(
        sigma=sigma,
        votes=votes,
        n=len(found),
        right=len(right),
        abstained=sum(one.column is None for one in found),
        at_radius={radius: sum(own >= radius for own in right) for radius in RADII},
    )


def _votes(
    logits: Logits, image: ImageHWC, sigma: float, count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return how many noisy copies each class gets."""
    size = max(1, min(count, BATCH_BYTES // (4 * image.size)))
    total: NDArray[np.int64] | None = None
    for start in range(0, count, size):
        shape = (min(size, count - start), *image.shape)
        noise = random.standard_normal(shape, np.float32) * np.float32(255 * sigma)
        noisy = np.clip(np.rint(noise + image), 0, 255).astype(np.uint8)
        scores = logits(noisy)
        won = np.bincount(scores.argmax(axis=1), minlength=scores.shape[1])
        total = won if total is None else total + won
    assert total is not None
    return total
