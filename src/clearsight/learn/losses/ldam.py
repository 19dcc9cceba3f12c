"""Larger margins for rarer classes, and weights for them at the end of the training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task
from clearsight.learn.losses._class_counts import balanced_weights


class Ldam:
    """Cross-entropy after the true class's logit has lost a margin C / n_y^(1/4).

    C makes the largest margin `max_margin`. The last part of the training weighs classes by one
    over their effective number of pictures (deferred re-weighting). The paper multiplies cosines
    by 30 and takes half of that off; here logits are the network's own, unbounded, so the margin
    is given in them.

    Args:
        config: `max_margin` in logits; `reweight_from`, the part of the training after which
            weights count (1 never weighs); `beta` of the weights.
        class_counts: training pictures per class; one without any is left out.

    Source:
        Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss (2019),
        equations 10 and 13, algorithm 1 (the last 40 of 200 passes are weighted).

    Example:
        >>> loss = Ldam(Ldam.Config(max_margin=1), (1, 16))  # margins 1 and 1/2
        >>> logits = torch.tensor([[1.0, 0.0]])
        >>> round(float(loss(logits, torch.tensor([0]))), 4)  # both logits are 0 now
        0.6931
    """

    class Config(BaseConfig):
        """Options of the loss."""

        max_margin: float = Field(default=1.0, ge=0)
        reweight_from: float = Field(default=0.8, ge=0, le=1)
        beta: float = Field(default=0.9999, ge=0, lt=1)

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "ordinal")
    balances: ClassVar[bool] = True
    worked_example: ClassVar[tuple[Any, Any, float]] = (
        [[0.0, math.log(3.0) + 1.0], [math.log(3.0), 1.0]],
        [1, 1],
        (math.log(4 / 3) + math.log(4.0)) / 2,  # less the margin 1: softmax gives 3/4 and 1/4
    )

    def __init__(self, config: Ldam.Config, class_counts: Sequence[int]) -> None:
        self.config = config
        rarity = [count**-0.25 if count else 0.0 for count in class_counts]
        largest = max(rarity) or 1.0
        margins = [config.max_margin * one / largest for one in rarity]
        self.margins = torch.tensor(margins, dtype=torch.float64)
        self.weights = balanced_weights(class_counts, config.beta)

    def __call__(self, logits: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: (n, classes) floating point scores.
            labels: (n,) int64 class numbers.
            progress: part of the training that is done.

        Returns:
            A scalar tensor.
        """
        own = torch.nn.functional.one_hot(labels, logits.shape[1])
        harder = logits - own * self.margins.to(logits)
        each = torch.nn.functional.cross_entropy(harder, labels, reduction="none")
        if progress < self.config.reweight_from:
            return each.mean()
        return (self.weights.to(each)[labels] * each).mean()
