"""Random numbers, all from a batch's own generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def uniform(n: int, low: float, high: float, random: torch.Generator) -> Tensor:
    """Return (n,) float64 draws from [low, high)."""
    return low + (high - low) * torch.rand(n, generator=random, dtype=torch.float64)


def numpy_generator(random: torch.Generator) -> np.random.Generator:
    """Return a generator for the distributions that torch draws only from its global one."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=random)))
