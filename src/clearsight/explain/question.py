"""What is asked about a picture: why this class, or why this one and not that one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import UsageError
from clearsight.core.nouns import Scores, Task


@dataclass(frozen=True)
class Question:
    """One question a picture.

    Args:
        labels: (n,) int64, the class whose evidence is looked for.
        against: (n,) int64, the class that it is compared with; None compares with none.

    Raises:
        UsageError: a class is compared with itself, or the two differ in number.
    """

    labels: NDArray[np.int64]
    against: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Refuse what has no answer."""
        if self.against is None:
            return
        if self.against.shape != self.labels.shape:
            raise UsageError(f"{len(self.labels)} classes against {len(self.against)}.")
        if (self.against == self.labels).any():
            raise UsageError("A class cannot be explained against itself. Name another one.")

    def __len__(self) -> int:
        return len(self.labels)

    def row(self, number: int, times: int = 1) -> Question:
        """Return one picture's question, `times` times."""
        rows = np.full(times, number)
        return Question(self.labels[rows], None if self.against is None else self.against[rows])

    def weights(self, classes: int) -> Scores:
        """Return (n, classes) float32: 1 for the class, -1 for the one it is compared with."""
        rows = np.arange(len(self))
        found = np.zeros((len(self), classes), np.float32)
        found[rows, self.labels] = 1
        if self.against is not None:
            found[rows, self.against] = -1
        return found

    def score(self, probabilities: Scores) -> NDArray[np.float64]:
        """Return (n,) in [0, 1]: the class's probability; of a pair, its share of both's.

        Args:
            probabilities: (n, classes).
        """
        rows = np.arange(len(self))
        own = probabilities[rows, self.labels].astype(np.float64)
        if self.against is None:
            return own
        other = probabilities[rows, self.against].astype(np.float64)
        return own / np.maximum(own + other, 1e-12)

    def margin(self, logits: Scores, task: Task = "single-label") -> NDArray[np.float64]:
        """Return (n,) log-odds of the class: they do not saturate as probabilities do.

        Args:
            logits: (n, classes).
            task: what a label is; classes of "multi-label" are questions of their own.
        """
        rows, z = np.arange(len(self)), logits.astype(np.float64)
        own = z[rows, self.labels]
        if self.against is not None:
            return own - z[rows, self.against]
        if task == "multi-label":
            return own
        others = z.copy()
        others[rows, self.labels] = -np.inf
        highest = others.max(axis=1)
        rest = np.log(np.exp(others - highest[:, None]).sum(axis=1))
        margin: NDArray[np.float64] = own - highest - rest
        return margin
