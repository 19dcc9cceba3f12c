"""Cross-entropy of a softmax that knows how many pictures each class has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task
from clearsight.learn.losses._class_counts import log_prior


class BalancedSoftmax:
    """Mean of -log(n_y exp(z_y) / sum_k n_k exp(z_k)), n_k the training pictures of class k.

    softmax(z) itself is then the answer under equally frequent classes. The same as
    `logit-adjusted` with tau 1.

    Args:
        config: it has no options.
        class_counts: training pictures per class; one without any counts as the largest.

    Source:
        Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition (2020), equation 3.

    Example:
        >>> loss = BalancedSoftmax(BalancedSoftmax.Config(), (3, 1))
        >>> round(math.exp(-float(loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1])))), 4)
        0.25
    """

    class Config(BaseConfig):
        """It has no options."""

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "ordinal")
    balances: ClassVar[bool] = True
    worked_example: ClassVar[tuple[Any, Any, float]] = (
        [[0.0, math.log(3.0)], [math.log(3.0), 0.0]],
        [1, 1],
        (math.log(4 / 3) + math.log(4.0)) / 2,  # classes of one size: cross-entropy
    )

    def __init__(self, config: BalancedSoftmax.Config, class_counts: Sequence[int]) -> None:
        self.config = config
        self.offsets = log_prior(class_counts)

    def __call__(self, logits: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: (n, classes) floating point scores.
            labels: (n,) int64 class numbers.
            progress: not used.

        Returns:
            A scalar tensor.
        """
        return torch.nn.functional.cross_entropy(logits + self.offsets.to(logits), labels)
