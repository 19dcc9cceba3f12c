"""What the attacks share: losses with their gradients, and the way back into the ball."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clearsight.core.calibration import softmax
from clearsight.core.nouns import Cotangent, PixelsNHWC, Scores
from clearsight.robust.attacks import Labels

Values = NDArray[np.float64]
TINY = 1e-12


class Objective(NamedTuple):
    """What an attack makes large.

    Args:
        value: from logits (n, k), labels (n,) and the classes aimed at (n,) to (n,).
        slope: from the same to its gradient with respect to the logits, (n, k) float32.
    """

    value: Callable[[Scores, Labels, Labels], Values]
    slope: Callable[[Scores, Labels, Labels], Scores]

    def of(self, labels: Labels, targets: Labels | None = None) -> Cotangent:
        """Return the cotangent that `Differentiable.gradient` takes."""
        return lambda logits: self.slope(logits, labels, labels if targets is None else targets)


def project(pixels: PixelsNHWC, clean: PixelsNHWC, radius: float) -> PixelsNHWC:
    """Return pixels brought back within `radius` of the clean picture and within 0-255."""
    near = np.clip(pixels, clean - np.float32(radius), clean + np.float32(radius))
    return np.clip(near, 0, 255).astype(np.float32, copy=False)


def fooled(logits: Scores, labels: Labels) -> NDArray[np.bool_]:
    """Return (n,), where the best class is not the true one."""
    return np.asarray(logits.argmax(axis=1) != labels)


def _log_loss(logits: Scores, labels: Labels, targets: Labels) -> Values:
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    own = scores[np.arange(len(labels)), labels]
    return np.asarray(np.log(np.exp(scores).sum(axis=1)) - own)


def _log_loss_slope(logits: Scores, labels: Labels, targets: Labels) -> Scores:
    away = softmax(logits)
    away[np.arange(len(labels)), labels] -= 1
    return away


def _lead(logits: Scores, labels: Labels, targets: Labels) -> Values:
    rows = np.arange(len(labels))
    return np.asarray(logits[rows, labels].astype(np.float64) - logits[rows, targets])


def _width(logits: Scores) -> tuple[Values, NDArray[np.int64]]:
    """Return the width of the best four logits, and which these are."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :4]
    best = np.take_along_axis(logits, order, axis=1).astype(np.float64)
    return best[:, 0] - (best[:, 2] + best[:, 3]) / 2 + TINY, order


def _ratio(logits: Scores, labels: Labels, targets: Labels) -> Values:
    lead = _lead(logits, labels, targets)
    return -lead if logits.shape[1] < 4 else -lead / _width(logits)[0]


def _ratio_slope(logits: Scores, labels: Labels, targets: Labels) -> Scores:
    rows = np.arange(len(labels))
    found = np.zeros(logits.shape, np.float64)
    few = logits.shape[1] < 4
    width, order = (np.ones(len(labels)), np.zeros((0, 0), np.int64)) if few else _width(logits)
    found[rows, labels] -= 1 / width
    found[rows, targets] += 1 / width
    if not few:
        lead = _lead(logits, labels, targets)
        for place, weight in ((0, 1.0), (2, -0.5), (3, -0.5)):
            found[rows, order[:, place]] += weight * lead / width**2
    return found.astype(np.float32)


CROSS_ENTROPY = Objective(_log_loss, _log_loss_slope)
"""The log-loss of the true class."""
TARGETED_RATIO = Objective(_ratio, _ratio_slope)
"""How near a picture is to being taken for its target: the targeted difference-of-logits ratio.

With fewer than four classes the ratio is not defined, and the plain difference is taken.

Source: Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of
    Diverse Parameter-free Attacks", equation 7.
"""
