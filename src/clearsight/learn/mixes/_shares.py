"""What mixes draw: partners and shares."""

from __future__ import annotations

import torch
from torch import Tensor

from clearsight.learn.augment._draws import numpy_generator


def drawn_partners(n: int, random: torch.Generator) -> Tensor:
    """Return (n,) int64, a random permutation of the batch."""
    return torch.randperm(n, generator=random)


def drawn_share(alpha: float, random: torch.Generator) -> float:
    """Return a draw of Beta(alpha, alpha); torch's own cannot be given a generator."""
    return float(numpy_generator(random).beta(alpha, alpha))
