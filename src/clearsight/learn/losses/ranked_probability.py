"""Squared distance of cumulative probabilities: far misses on a scale cost more than near ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task


class RankedProbability:
    """Mean of 1 / (K - 1) * sum_{k < K} (P(class <= k) - [y <= k])^2, P from softmax(z).

    The ranked probability score, a proper score: it is least for the true probabilities. The
    regression of a class on an ordered scale: the error of every "at most k" is squared, so an
    answer that is off by two steps costs about twice as much as one off by one.

    Args:
        config: no options.
        class_counts: not used.

    Source:
        Epstein, A Scoring System for Probability Forecasts of Ranked Categories (1969); as a loss
        Hou, Yu, Samaras, Squared Earth Mover's Distance-based Loss (2016), equation 4.

    Example:
        >>> loss = RankedProbability(RankedProbability.Config(), (1, 1, 1))
        >>> round(float(loss(torch.zeros(1, 3), torch.tensor([0]))), 4)  # (4/9 + 1/9) / 2
        0.2778
    """

    class Config(BaseConfig):
        """No options."""

    tasks: ClassVar[tuple[Task, ...]] = ("ordinal", "single-label")
    balances: ClassVar[bool] = False
    worked_example: ClassVar[tuple[Any, Any, float]] = (
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        [0, 1],
        ((4 / 9 + 1 / 9) / 2 + (1 / 9 + 1 / 9) / 2) / 2,  # at most 1/3, 2/3 against 1, 1 and 0, 1
    )

    def __init__(self, config: RankedProbability.Config, class_counts: Sequence[int]) -> None:
        self.config = config

    def __call__(self, logits: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: (n, classes) floating point scores, classes in the order of the scale.
            labels: (n,) int64 class numbers.
            progress: not used.
        """
        classes = logits.shape[1]
        at_most = logits.softmax(1).cumsum(1)[:, :-1]
        steps = torch.arange(classes - 1, device=logits.device)
        wanted = (labels[:, None] <= steps).to(at_most.dtype)
        return (at_most - wanted).square().sum(1).mean() / max(1, classes - 1)
