"""Which pictures make up a pass over the training part; a file added here is a sampler added."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.nouns import Task
from clearsight.core.registry import Registry

SAMPLERS = Registry("clearsight.learn.samplers", "sampler", extra="train")


class Sampler(Protocol):
    """What a file in this folder defines; constructed with its configuration.

    Class attributes: `Config`; `tasks`, which kinds of label it takes; `balances`, whether it
    shows classes with few pictures oftener than they occur.
    """

    Config: ClassVar[type[Config]]
    tasks: ClassVar[tuple[Task, ...]]
    balances: ClassVar[bool]

    def __init__(self, config: Any) -> None:
        """Take the sampler's own options."""

    def order(
        self,
        labels: NDArray[np.int64],
        classes: int,
        progress: float,
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return which training pictures one pass shows, in what order.

        Args:
            labels: (n,) int64 class numbers; (n, classes) of 0 and 1 for "multi-label".
            classes: how many classes there are; some may have no picture.
            progress: part of the training that is done when the pass begins, in [0, 1].
            random: the only source of randomness; made anew for every pass.

        Returns:
            (n,) int64 picture numbers; pictures may repeat and be left out, the length of a
            pass is always that of the training part.
        """
