"""PRIME's three primitives, on float32 (n, c, h, w) pictures in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

KERNEL = 3
HIGHEST_FREQUENCY, BAND = 100, 20
"""Waves of a colour curve: up to so many half-periods, so many neighbours of them at once."""
HIGHEST_CUT = 10
"""Waves of a deformation along a side."""


@dataclass(frozen=True)
class Strength:
    """How strong the primitives are at most; each picture's strength is drawn below.

    Args:
        filter_sigma: see `Prime.Config`.
        colour_variance: see `Prime.Config`.
        deformation: see `Prime.Config`.
    """

    filter_sigma: float
    colour_variance: float
    deformation: float


def filtered(pixels: Tensor, strength: Strength, random: torch.Generator) -> Tensor:
    """Return every picture after a random small filter, the same for all of its channels."""
    n, channels, height, width = pixels.shape
    sigma = strength.filter_sigma * torch.rand(n, 1, 1, generator=random)
    kernels = sigma * torch.randn(n, KERNEL, KERNEL, generator=random)
    kernels[:, KERNEL // 2, KERNEL // 2] += 1
    weights = kernels.repeat_interleave(channels, 0)[:, None]
    rows = pixels.reshape(1, n * channels, height, width)
    found = F.conv2d(rows, weights, padding=KERNEL // 2, groups=n * channels)
    return found.reshape(pixels.shape)


def coloured(pixels: Tensor, strength: Strength, random: torch.Generator) -> Tensor:
    """Return every picture after a random curve of values, another one for every channel.

    A curve is the identity and sine waves that vanish at 0 and 1.
    """
    n, channels = pixels.shape[:2]
    highest = int(torch.randint(1, HIGHEST_FREQUENCY + 1, (), generator=random))
    waves = torch.arange(max(1, highest - BAND + 1), highest + 1)
    variance = strength.colour_variance * torch.rand(n, 1, 1, generator=random)
    heights = variance.sqrt() * torch.randn(n, channels, len(waves), generator=random)
    # a byte has 256 values: the curve is a table, looked up between its entries' neighbours
    grid = torch.linspace(0, 1, 256)
    tables = grid + heights @ torch.sin(math.pi * waves[:, None] * grid)
    places = (255 * pixels).round().long().flatten(2)
    return tables.gather(2, places).reshape(pixels.shape)


def deformed(pixels: Tensor, strength: Strength, random: torch.Generator) -> Tensor:
    """Return every picture moved by a random smooth field that is still at the border.

    Source:
        Petrini et al., Relative Stability toward Diffeomorphisms Indicates Performance in Deep
        Nets (2021), section 2: the field, and the range in which it is seen and bijective.
    """
    n, _, height, width = pixels.shape
    cut = int(torch.randint(2, HIGHEST_CUT + 1, (), generator=random))
    side = max(height, width)
    least = 1 / (math.pi * side**2 * math.log(cut))
    most = 4 / (math.pi**3 * cut**2 * math.log(cut))
    drawn = torch.rand(n, 1, 1, 1, generator=random)
    variance = strength.deformation * (least + drawn * max(0.0, most - least))
    order = torch.arange(1, cut + 1).float()
    length = (order[:, None] ** 2 + order[None, :] ** 2).sqrt()
    heights = torch.randn(n, 2, cut, cut, generator=random) / length
    heights = variance.sqrt() * heights * (length < cut + 0.5)
    down, across = (
        torch.sin(math.pi * order[:, None] * torch.linspace(0, 1, size)) for size in (height, width)
    )
    # both in parts of the side; grid_sample counts from -1 to 1
    field = 2 * torch.einsum("ndij,ih,jw->nhwd", heights, down, across)
    plain = torch.eye(2, 3).expand(n, 2, 3)
    grid = F.affine_grid(plain, list(pixels.shape), align_corners=False) + field
    return F.grid_sample(pixels, grid, "bilinear", "reflection", align_corners=False)


PRIMITIVES = (filtered, coloured, deformed)
