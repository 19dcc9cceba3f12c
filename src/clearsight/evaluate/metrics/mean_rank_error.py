"""By how many steps of the scale the answer is off."""

from __future__ import annotations

import numpy as np

from clearsight.evaluate.metric import metric
from clearsight.evaluate.scored import Scored


@metric("Mean rank error", highest=float("inf"), best=0.0, tasks=("ordinal",))
def mean_rank_error(scored: Scored) -> float:
    """Return the mean of |best class - truth| in steps of the scale; 0 is best.

    Source: Baccianella, Esuli, Sebastiani 2009, "Evaluation Measures for Ordinal Regression".
    """
    return float(np.abs(scored.predicted - scored.labels).mean())
