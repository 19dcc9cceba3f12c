"""Every class a question of its own: cross-entropy of a sigmoid, one against the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task


class BinaryCrossEntropy:
    """Mean over pictures and classes of -t log sigmoid(z) - (1 - t) log(1 - sigmoid(z)).

    t is one-hot, or the labels themselves where a picture has several; with smoothing s it is
    (1 - s) t + s / 2.

    Args:
        config: `smoothing` s in [0, 1).
        class_counts: not used.

    Source:
        Bishop, Pattern Recognition and Machine Learning (2006), equation 4.90; Wightman et al.,
        ResNet Strikes Back (2021), section 3.1, for pictures with one label.

    Example:
        >>> loss = BinaryCrossEntropy(BinaryCrossEntropy.Config(), (1, 1))
        >>> round(float(loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[1, 1]]))), 4)
        0.6931
    """

    class Config(BaseConfig):
        """Options of the loss."""

        smoothing: float = Field(default=0.0, ge=0, lt=1)

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "multi-label", "ordinal")
    balances: ClassVar[bool] = False
    worked_example: ClassVar[tuple[Any, Any, float]] = (
        [[0.0, math.log(3.0)], [math.log(3.0), 0.0]],
        [1, 1],
        (math.log(2) + math.log(4 / 3) + math.log(4) + math.log(2)) / 4,  # sigmoid: 1/2, 3/4
    )

    def __init__(self, config: BinaryCrossEntropy.Config, class_counts: Sequence[int]) -> None:
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
        truth = labels if labels.ndim == 2 else functional.one_hot(labels, logits.shape[1])
        smoothed = (1 - self.config.smoothing) * truth + self.config.smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smoothed.to(logits.dtype))
