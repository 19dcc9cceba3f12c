"""How far scores are from the accuracy they promise."""

from __future__ import annotations

from clearsight.evaluate.metric import metric
from clearsight.evaluate.reliability import calibration_error, reliability
from clearsight.evaluate.scored import Scored


@metric("Expected calibration error", best=0.0)
def ece(scored: Scored) -> float:
    """Return the sum over 15 equal bins of n_bin / n * |accuracy - confidence|; 0 is best.

    In [0, 1]. It is biased upwards on few pictures: bins are then noise.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    return calibration_error(reliability(scored.confidence, scored.right))
