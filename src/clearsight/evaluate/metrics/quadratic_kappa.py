"""How far answers agree with a scale beyond chance; far misses weigh most."""

from __future__ import annotations

import numpy as np

from clearsight.evaluate.metric import metric
from clearsight.evaluate.scored import Scored


@metric("Quadratic weighted kappa", lowest=-1.0, tasks=("ordinal",))
def quadratic_kappa(scored: Scored) -> float:
    """Return 1 - sum(w * seen) / sum(w * by chance), w = squared steps apart; 1 is best.

    When chance alone could not err (one class throughout), 1 if every answer is right, else 0.

    Source: Cohen 1968, "Weighted kappa".
    """
    steps = np.arange(scored.k)
    weights = np.square(steps[:, None] - steps[None, :])
    chance = float((weights * np.outer(scored.support, scored.predictions)).sum() / scored.n)
    if chance == 0:
        return float(scored.correct.all())
    return 1 - float((weights * scored.confusion).sum()) / chance
