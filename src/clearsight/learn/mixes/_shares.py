"""What mixes draw: partners and shares."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def drawn_partners(n: int, random: torch.Generator) -> Tensor:
    """Return (n,) int64, a random permutation of the batch."""
    return torch.randperm(n, generator=random)


def drawn_share(alpha: float, random: torch.Generator) -> float:
    """Return a draw of Beta(alpha, alpha); torch's own cannot be given a generator."""
    seed = int(torch.randint(2**62, (), generator=random))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
