"""Loss functions; a file added here is a loss added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from clearsight.core.config import Config
from clearsight.core.nouns import Task
from clearsight.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

LOSSES = Registry("clearsight.learn.losses", "loss", extra="train")


class Loss(Protocol):
    """What a file in this folder defines.

    Class attributes: `Config`; `tasks`, which kinds of label it takes; `balances`, whether it
    favours classes with few pictures; `worked_example`: (logits, labels, value by hand) for the
    default configuration and equal class counts.
    """

    Config: ClassVar[type[Config]]
    tasks: ClassVar[tuple[Task, ...]]
    balances: ClassVar[bool]
    worked_example: ClassVar[tuple[Any, Any, float]]

    def __init__(self, config: Any, class_counts: Sequence[int]) -> None:
        """Take options and the training pictures per class (zeros are possible)."""

    def __call__(self, logits: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
        """Return the mean loss of a batch, a scalar.

        Args:
            logits: (n, classes) floating point.
            labels: (n,) int64 class numbers; (n, classes) of 0 and 1 for "multi-label".
            progress: part of the training that is done, in [0, 1], for deferred terms.
        """
