"""Hardening by changed pictures, and the loss that holds versions of a picture together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from clearsight.core.nouns import Task
from clearsight.learn.hardening import Step

LEAST_PROBABILITY = 1e-7
SINGLE: tuple[Task, ...] = ("single-label", "ordinal")
"""Kinds of label whose scores make one distribution over the classes."""
Pictures = Callable[[Tensor, torch.Generator], Tensor]


class PictureHardening:
    """Base of the hardenings that change pictures without asking the network.

    Args:
        config: its options.
    """

    by_pictures: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = SINGLE

    def __init__(self, config: Any) -> None:
        self.config = config

    def pictures(self, images_nhwc: Tensor, random: torch.Generator) -> Tensor:
        """Return changed uint8 (n, h, w, c) pictures; the input is not modified."""
        raise NotImplementedError

    @property
    def consistency(self) -> float:
        """Weight of the divergence of three versions of a picture; 0 without such an option."""
        return float(getattr(self.config, "consistency", 0.0))

    @property
    def cost(self) -> float:
        """Forward passes of a step."""
        return 3.0 if self.consistency else 1.0

    def trial(self, step: Step) -> Tensor:
        """Return the pictures changed once."""
        return step.pixels(self.pictures(step.images_nhwc, step.random))

    def loss(self, step: Step) -> Tensor:
        """Return the loss on changed pictures, or on plain ones held together with two changed."""
        if not self.consistency:
            return step.loss(step.logits(self.trial(step)))
        changed = [self.pictures(step.images_nhwc, step.random) for _ in range(2)]
        together = step.pixels(torch.cat([step.images_nhwc, *changed]))
        plain, one, two = step.logits(together).chunk(3)
        spread = jensen_shannon(plain, one, two)
        return step.loss(plain) + self.consistency * spread


def jensen_shannon(*logits: Tensor) -> Tensor:
    """Return the mean divergence of several distributions a picture from their middle, in nats.

    Args:
        logits: (n, classes) each; softmax makes them distributions.

    Source:
        Hendrycks et al., AugMix (2020), equation 1.

    Example:
        >>> sure = torch.tensor([[50.0, -50.0]])
        >>> round(float(jensen_shannon(sure, -sure)), 4)
        0.6931
    """
    each = [F.softmax(scores, 1) for scores in logits]
    middle = torch.stack(each).mean(0).clamp(LEAST_PROBABILITY, 1).log()
    parts = [F.kl_div(middle, one, reduction="batchmean") for one in each]
    return torch.stack(parts).mean()
