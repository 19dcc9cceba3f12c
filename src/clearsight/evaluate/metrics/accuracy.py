"""The fraction of pictures whose best class is the true one."""

from __future__ import annotations

from clearsight.evaluate.intervals import wilson
from clearsight.evaluate.metric import metric
from clearsight.evaluate.scored import Scored


@metric("Accuracy", interval=lambda scored: wilson(int(scored.correct.sum()), scored.n))
def accuracy(scored: Scored) -> float:
    """Return sum(best class == truth) / n, in [0, 1]; 1 is best.

    Source: ISO/IEC TS 4213:2022, 6.2.
    """
    return float(scored.correct.mean())
