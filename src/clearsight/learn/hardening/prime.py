"""PRIME: random filters, smooth deformations and colour curves, blended."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.augment._draws import numpy_generator
from clearsight.learn.hardening._pictures import PictureHardening
from clearsight.learn.hardening._primitives import PRIMITIVES, Strength


class Prime(PictureHardening):
    """Blends a picture with chains of three primitives drawn at their largest randomness.

    None of the primitives is a corruption that `stress` measures with.

    Args:
        config: how strong the primitives are, how they are blended.

    Source:
        Modas et al., PRIME: A Few Primitives Can Boost Robustness to Common Corruptions (2022),
        section 2; strengths as published for CIFAR-10. Our own writing: all strengths are drawn
        for every picture, frequencies and cut-offs for every batch.
    """

    class Config(BaseConfig):
        """Options of the hardening.

        Args:
            consistency: weight of the Jensen-Shannon divergence of the picture and two blended
                versions (published: 12), at three times the cost; 0 trains on one blended version.
            filter_sigma: largest standard deviation of a filter's weights around the identity.
            colour_variance: largest variance of a colour curve's waves.
            deformation: largest deformation, in parts of the strongest that keeps the picture
                whole.
            chains: blended with each other.
            longest_chain: primitives; each chain's number is drawn from 1 to this.
        """

        consistency: float = Field(default=0.0, ge=0, le=100)
        filter_sigma: float = Field(default=4.0, ge=0, le=16)
        colour_variance: float = Field(default=0.01, ge=0, le=1)
        deformation: float = Field(default=1.0, ge=0, le=1)
        chains: int = Field(default=3, ge=1, le=8)
        longest_chain: int = Field(default=3, ge=1, le=8)

    config: Prime.Config

    def pictures(self, images_nhwc: Tensor, random: torch.Generator) -> Tensor:
        """Return blended uint8 (n, h, w, c) pictures."""
        n, chains, draws = len(images_nhwc), self.config.chains, numpy_generator(random)
        shares = torch.from_numpy(draws.dirichlet([1.0] * chains, n)).float()
        changed = torch.from_numpy(draws.uniform(0, 1, n)).float()  # Beta(1, 1)
        plain = images_nhwc.permute(0, 3, 1, 2).float() / 255
        ends = self._ends(plain.repeat(chains, 1, 1, 1), random).chunk(chains)
        blended = plain * (1 - changed)[:, None, None, None]
        for chain, end in enumerate(ends):
            blended += end * (changed * shares[:, chain])[:, None, None, None]
        result = (255 * blended).round_().clamp_(0, 255).to(torch.uint8)
        return result.permute(0, 2, 3, 1).contiguous()

    def _ends(self, plain: Tensor, random: torch.Generator) -> Tensor:
        """Return every picture after one chain of its own length; values stay in [0, 1]."""
        options = self.config
        strength = Strength(options.filter_sigma, options.colour_variance, options.deformation)
        length = torch.randint(1, options.longest_chain + 1, (len(plain),), generator=random)
        for position in range(int(length.max())):
            drawn = torch.randint(len(PRIMITIVES), (len(plain),), generator=random)
            drawn[length <= position] = -1
            for number, primitive in enumerate(PRIMITIVES):
                rows = (drawn == number).nonzero()[:, 0]
                if len(rows):
                    plain[rows] = primitive(plain[rows], strength, random).clamp_(0, 1)
        return plain
