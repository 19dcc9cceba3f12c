"""Squared distance of the answers from the truth, of probabilities or of the logits themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task


class MeanSquaredError:
    """Mean over pictures and classes of (a_k - t_k)^2, with t one-hot or the labels themselves.

    a is softmax(z) (sigmoid(z) for several labels): the Brier score over the number of classes.
    Or it is z itself: as good as cross-entropy in large comparisons, but logits are then near 0
    and 1 and mean no probabilities until the temperature is fitted.

    Args:
        config: `of`, what is compared with the truth.
        class_counts: not used.

    Source:
        Brier, Verification of Forecasts Expressed in Terms of Probability (1950), equation 2;
        Hui and Belkin, Evaluation of Neural Architectures Trained with Square Loss vs
        Cross-Entropy in Classification Tasks (2021), for logits.

    Example:
        >>> loss = MeanSquaredError(MeanSquaredError.Config(), (1, 1))
        >>> float(loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1])))
        0.25
    """

    class Config(BaseConfig):
        """Options of the loss."""

        of: Literal["probabilities", "logits"] = "probabilities"

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "multi-label", "ordinal")
    balances: ClassVar[bool] = False
    worked_example: ClassVar[tuple[Any, Any, float]] = (
        [[0.0, math.log(3.0)], [math.log(3.0), 0.0]],
        [1, 1],
        (2 * 0.25**2 + 2 * 0.75**2) / 4,  # softmax gives 3/4 and 1/4
    )

    def __init__(self, config: MeanSquaredError.Config, class_counts: Sequence[int]) -> None:
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
        several = labels.ndim == 2
        truth = labels if several else torch.nn.functional.one_hot(labels, logits.shape[1])
        answer = logits
        if self.config.of == "probabilities":
            answer = logits.sigmoid() if several else logits.softmax(1)
        return torch.nn.functional.mse_loss(answer, truth.to(answer.dtype))
