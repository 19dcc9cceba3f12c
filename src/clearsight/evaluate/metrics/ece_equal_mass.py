"""How far scores are from the accuracy they promise, in bins of equally many pictures."""

from __future__ import annotations

from clearsight.evaluate.metric import metric
from clearsight.evaluate.reliability import calibration_error, equal_mass
from clearsight.evaluate.scored import Scored


@metric("Calibration error, equal-mass bins", best=0.0)
def ece_equal_mass(scored: Scored) -> float:
    """Return the calibration error over 15 bins of equally many pictures; 0 is best.

    In [0, 1]. Where most scores are near 1, bins of equal width put nearly all pictures into one;
    these do not. Equal scores share a bin.

    Source: Nixon et al. 2019, "Measuring Calibration in Deep Learning", section 4 (adaptive
        calibration error, for the best class).
    """
    return calibration_error(equal_mass(scored.confidence, scored.right))
