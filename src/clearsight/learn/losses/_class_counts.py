"""What losses for uneven classes make of the training pictures per class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def log_prior(class_counts: Sequence[int]) -> Tensor:
    """Return log(share of the training pictures) per class, (classes,) float64.

    A class without pictures is given the largest share: subtracting the log of a tiny one would
    favour a class that was never learnt.

    Example:
        >>> [round(share, 9) for share in log_prior((3, 1, 0)).exp().tolist()]
        [0.75, 0.25, 0.75]
    """
    total, most = max(1, sum(class_counts)), max(1, *class_counts)
    shares = [math.log((count or most) / total) for count in class_counts]
    return torch.tensor(shares, dtype=torch.float64)


def balanced_weights(class_counts: Sequence[int], beta: float) -> Tensor:
    """Return one over the effective number of pictures, (classes,) float64.

    The effective number of n pictures is (1 - beta^n) / (1 - beta): 1 for beta 0, n as beta nears
    1. Weights are scaled so that their mean over the training pictures is 1 and the learning rate
    keeps its meaning (in the paper their mean over classes is). A class without pictures has 0.

    Source:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples (2019), equation 4.

    Example:
        >>> [round(w, 6) for w in balanced_weights((1, 2, 0), beta=0.5).tolist()]  # 1 : 1 / 1.5
        [1.285714, 0.857143, 0.0]
    """
    effective = [-math.expm1(count * math.log(beta)) if beta else 1.0 for count in class_counts]
    weights = [1 / e if n else 0.0 for n, e in zip(class_counts, effective, strict=True)]
    total = sum(count * weight for count, weight in zip(class_counts, weights, strict=True))
    scaled = [weight * sum(class_counts) / (total or 1.0) for weight in weights]
    return torch.tensor(scaled, dtype=torch.float64)
