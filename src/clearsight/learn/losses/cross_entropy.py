"""Cross-entropy with optional label smoothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task


class CrossEntropy:
    """Mean of -sum_k q_k log softmax(z)_k, with q = (1 - s) onehot(y) + s / classes.

    Args:
        config: `smoothing` s in [0, 1); 0 is plain cross-entropy.
        class_counts: not used.

    Source:
        Szegedy et al., Rethinking the Inception Architecture (2016), section 7.

    Example:
        >>> loss = CrossEntropy(CrossEntropy.Config(), (1, 1))
        >>> round(float(loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))), 4)
        0.6931
    """

    class Config(BaseConfig):
        """Options of the loss."""

        smoothing: float = Field(default=0.0, ge=0, lt=1)

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "ordinal")
    balances: ClassVar[bool] = False
    worked_example: ClassVar[tuple[Any, Any, float]] = (
        [[0.0, math.log(3.0)], [math.log(3.0), 0.0]],
        [1, 1],
        (math.log(4 / 3) + math.log(4.0)) / 2,  # softmax gives 3/4 and 1/4
    )

    def __init__(self, config: CrossEntropy.Config, class_counts: Sequence[int]) -> None:
        self.config = config

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
            logits, labels, label_smoothing=self.config.smoothing
        )
