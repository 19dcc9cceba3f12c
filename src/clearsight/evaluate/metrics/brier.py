"""The squared distance of the probabilities from the truth."""

from __future__ import annotations

import numpy as np

from clearsight.evaluate.metric import metric
from clearsight.evaluate.scored import Scored


@metric("Brier score", highest=2.0, best=0.0)
def brier(scored: Scored) -> float:
    """Return the mean over pictures of sum over classes (p - truth)^2, in [0, 2]; 0 is best.

    Source: Brier 1950, "Verification of Forecasts Expressed in Terms of Probability", equation 2.
    """
    distance = scored.square_sum - 2 * scored.truth_probability + 1
    return float(np.clip(distance, 0, 2).mean())
