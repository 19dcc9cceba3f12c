"""The surprise at the truth, in nats: punishes confident mistakes."""

from __future__ import annotations

import math

import numpy as np

from clearsight.evaluate.metric import metric
from clearsight.evaluate.scored import Scored

SMALLEST = float(np.finfo(np.float32).eps)


@metric("Log-loss", highest=-math.log(SMALLEST), best=0.0)
def log_loss(scored: Scored) -> float:
    """Return the mean of -ln(probability of the truth), in [0, 15.95]; 0 is best.

    Probabilities are kept above the rounding error of float32 (1.2e-7), so it stays finite.

    Source: Good 1952, "Rational Decisions"; Bishop 2006, equation 4.108.
    """
    return float(-np.log(np.clip(scored.truth_probability, SMALLEST, 1.0)).mean())
