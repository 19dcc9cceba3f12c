"""Cross-entropy after the logits were given the classes' shares of the training pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task
from clearsight.learn.losses._class_counts import log_prior


class LogitAdjusted:
    """Mean of -sum_k q_k log softmax(z + tau log prior)_k, with q as in cross-entropy.

    With tau 1 the least error averaged over classes is aimed at: softmax(z) is the answer under
    equally frequent classes.

    Args:
        config: `tau`, how much of the prior is taken out of the answers; 0 is cross-entropy.
            `smoothing` s in [0, 1): q = (1 - s) onehot(y) + s / classes.
        class_counts: training pictures per class; one without any counts as the largest.

    Source:
        Menon et al., Long-Tail Learning via Logit Adjustment (2021), equation 10.

    Example:
        >>> loss = LogitAdjusted(LogitAdjusted.Config(tau=2), (3, 1))  # odds of 9 to 1
        >>> round(math.exp(-float(loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1])))), 4)
        0.1
    """

    class Config(BaseConfig):
        """Options of the loss."""

        tau: float = Field(default=1.0, ge=0)
        smoothing: float = Field(default=0.0, ge=0, lt=1)

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "ordinal")
    balances: ClassVar[bool] = True
    worked_example: ClassVar[tuple[Any, Any, float]] = (
        [[0.0, math.log(3.0)], [math.log(3.0), 0.0]],
        [1, 1],
        (math.log(4 / 3) + math.log(4.0)) / 2,  # classes of one size: cross-entropy
    )

    def __init__(self, config: LogitAdjusted.Config, class_counts: Sequence[int]) -> None:
        self.config = config
        self.offsets = config.tau * log_prior(class_counts)

    def __call__(self, logits: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: (n, classes) floating point scores.
            labels: (n,) int64 class numbers.
            progress: not used.

        Returns:
            A scalar tensor.
        """
        return torch.nn.functional.cross_entropy(
            logits + self.offsets.to(logits), labels, label_smoothing=self.config.smoothing
        )
