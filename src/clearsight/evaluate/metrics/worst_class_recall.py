"""The recall of the class that is recognised worst."""

from __future__ import annotations

import numpy as np

from clearsight.evaluate.intervals import wilson
from clearsight.evaluate.metric import metric
from clearsight.evaluate.scored import Scored


def _interval(scored: Scored) -> tuple[float, float]:
    """Return the Wilson interval of the worst class; of equals, the one with fewest pictures."""
    present = scored.support > 0
    hits, pictures = scored.hits[present], scored.support[present]
    worst = np.lexsort((pictures, hits / pictures))[0]
    return wilson(int(hits[worst]), int(pictures[worst]))


@metric("Worst class recall", interval=_interval)
def worst_class_recall(scored: Scored) -> float:
    """Return the least hits / pictures over classes, in [0, 1]; 1 is best.

    Classes without a picture have no recall and are left out.

    Source: Sagawa et al. 2020, "Distributionally Robust Neural Networks" (worst-group accuracy,
        the groups being the classes).
    """
    return float(scored.recalls.min())
