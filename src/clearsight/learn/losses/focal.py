"""Focal loss: pictures that are already right count less."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task

NEVER = -1e9
"""Log of a probability that is none, finite so that gradients are."""


class Focal:
    """Mean of -(1 - p)^gamma log p, where p is the probability given to the truth.

    One label: p = softmax(z)_y, mean over pictures. Several labels: p = sigmoid(z_k) where class
    k is there and 1 - sigmoid(z_k) where it is not, mean over pictures and classes.

    Args:
        config: `gamma`; 0 is cross-entropy.
        class_counts: not used.

    Source:
        Lin et al., Focal Loss for Dense Object Detection (2017), equation 4.

    Example:
        >>> loss = Focal(Focal.Config(gamma=1), (1, 1))
        >>> round(float(loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))), 4)  # log(2) / 2
        0.3466
    """

    class Config(BaseConfig):
        """Options of the loss."""

        gamma: float = Field(default=2.0, ge=0)

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "multi-label", "ordinal")
    balances: ClassVar[bool] = False
    worked_example: ClassVar[tuple[Any, Any, float]] = (
        [[0.0, math.log(3.0)], [math.log(3.0), 0.0]],
        [1, 1],
        ((1 / 4) ** 2 * math.log(4 / 3) + (3 / 4) ** 2 * math.log(4)) / 2,  # p is 3/4 and 1/4
    )

    def __init__(self, config: Focal.Config, class_counts: Sequence[int]) -> None:
        self.config = config

    def __call__(self, logits: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: (n, classes) floating point scores.
            labels: (n,) int64 class numbers, or (n, classes) of 0 and 1.
            progress: not used.

        Returns:
            A scalar tensor.
        """
        functional = torch.nn.functional
        if labels.ndim == 2:
            side = (2 * labels - 1) * logits
            right, wrong = functional.logsigmoid(side), functional.logsigmoid(-side)
        else:
            shares = torch.log_softmax(logits, 1)
            own = functional.one_hot(labels, logits.shape[1]).bool()
            right = shares[own]
            wrong = shares.masked_fill(own, NEVER).logsumexp(1)
        return (-torch.exp(self.config.gamma * wrong) * right).mean()
