"""The mean F1 of the classes: misses and false alarms of every class count the same."""

from __future__ import annotations

import numpy as np

from clearsight.evaluate.metric import metric
from clearsight.evaluate.scored import Scored


@metric("Macro F1")
def macro_f1(scored: Scored) -> float:
    """Return the mean over classes of 2 hits / (pictures + predictions), in [0, 1]; 1 is best.

    Classes that neither occur nor are predicted are left out.

    Source: Opitz and Burst 2019, "Macro F1 and Macro F1", equation 1 (averaged F1).
    """
    occurring = np.asarray(scored.support + scored.predictions)
    counted = occurring > 0
    return float((2 * scored.hits[counted] / occurring[counted]).mean())
