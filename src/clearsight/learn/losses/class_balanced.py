"""Cross-entropy in which every class weighs one over its effective number of pictures."""

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


class ClassBalanced:
    """Mean of -w_y log softmax(z)_y, with w_y proportional to (1 - beta) / (1 - beta^n_y).

    n_y are the training pictures of class y; the mean weight of the pictures is 1.

    Args:
        config: `beta` in [0, 1); 0 weighs all classes alike, near 1 is one over n_y.
        class_counts: training pictures per class; one without any is left out.

    Source:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples (2019), equation 9.

    Example:
        >>> loss = ClassBalanced(ClassBalanced.Config(beta=0.5), (1, 2))  # weights 9/7, 6/7
        >>> round(float(loss(torch.tensor([[0.0, 0.0]]), torch.tensor([0])) / math.log(2)), 4)
        1.2857
    """

    class Config(BaseConfig):
        """Options of the loss."""

        beta: float = Field(default=0.9999, ge=0, lt=1)

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "ordinal")
    balances: ClassVar[bool] = True
    worked_example: ClassVar[tuple[Any, Any, float]] = (
        [[0.0, math.log(3.0)], [math.log(3.0), 0.0]],
        [1, 1],
        (math.log(4 / 3) + math.log(4.0)) / 2,  # classes of one size weigh 1
    )

    def __init__(self, config: ClassBalanced.Config, class_counts: Sequence[int]) -> None:
        self.config = config
        self.weights = balanced_weights(class_counts, config.beta)

    def __call__(self, logits: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: (n, classes) floating point scores.
            labels: (n,) int64 class numbers.
            progress: not used.

        Returns:
            A scalar tensor.
        """
        each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        return (self.weights.to(each)[labels] * each).mean()
