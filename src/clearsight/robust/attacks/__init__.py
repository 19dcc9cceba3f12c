"""Changes too small to matter to a person, sought so that a recognizer errs. A file added is one.

All stay within `radius` grey levels of every pixel (Linf) and within 0-255.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import PixelsNHWC, Scores
from clearsight.core.registry import Registry

ATTACKS = Registry("clearsight.robust.attacks", "attack")
Labels = NDArray[np.int64]


class Target(Protocol):
    """What a black-box attack sees: scores of pictures with any pixel values."""

    def logits(self, pixels_nhwc: PixelsNHWC) -> Scores:
        """Return raw scores (n, classes) of float32 pictures (n, h, w, c) in [0, 255]."""


class Attack(Protocol):
    """Seeks pictures within a small ball that a recognizer gets wrong.

    A file in this folder defines a class with a strict `Config`: `Pgd(Pgd.Config())`.

    Args:
        black_box: it only asks for scores, so a `Target` is enough; else it needs a
            `core.nouns.Differentiable`.
        baseline: key of the weaker attack that it is never weaker than; "" for random noise.
    """

    black_box: ClassVar[bool]
    baseline: ClassVar[str]

    def __call__(
        self,
        model: Any,
        pixels_nhwc: PixelsNHWC,
        labels: Labels,
        radius: float,
        random: np.random.Generator,
    ) -> PixelsNHWC:
        """Return changed pictures, as wrong as could be found; the input is not modified.

        Args:
            model: a `Differentiable`, or a `Target` where the attack is black-box.
            pixels_nhwc: (n, h, w, c) float32 in [0, 255] that the model gets right.
            labels: (n,) the true columns.
            radius: by how many grey levels (of 255) each value may change, > 0.
            random: the only source of randomness.
        """
