"""The mean recall of the classes: every class counts the same, however rare."""

from __future__ import annotations

from clearsight.evaluate.metric import metric
from clearsight.evaluate.scored import Scored


@metric("Balanced accuracy")
def balanced_accuracy(scored: Scored) -> float:
    """Return the mean over classes of hits / pictures, in [0, 1]; 1 is best.

    Classes without a picture have no recall and are left out.

    Source: Brodersen et al. 2010, "The Balanced Accuracy and Its Posterior Distribution".
    """
    return float(scored.recalls.mean())
