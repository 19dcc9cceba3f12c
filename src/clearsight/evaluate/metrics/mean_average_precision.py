"""How well the classes' scores rank the pictures that show them above those that do not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clearsight.evaluate.metric import metric
from clearsight.evaluate.scored import Scored


@metric("Mean average precision", tasks=("multi-label",))
def mean_average_precision(scored: Scored) -> float:
    """Return the mean over classes of the average precision, in [0, 1]; 1 is best.

    A class's average precision is the mean, over the pictures that show it, of the precision among
    all pictures scored at least as high. Classes without a picture are left out.

    Source: Manning, Raghavan, Schuetze 2008, "Introduction to Information Retrieval", section 8.4.
    """
    truth = scored.targets
    present = truth.sum(axis=0) > 0
    values = [
        _average_precision(scored.probabilities[:, column], truth[:, column])
        for column in np.flatnonzero(present)
    ]
    return float(np.mean(values)) if values else 0.0


def _average_precision(scores: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    last = np.searchsorted(-ranked, -ranked, side="right")  # equals are taken together
    precision = hits[last - 1] / last
    return float(precision[truth[order] == 1].mean())
