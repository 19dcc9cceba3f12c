"""A change of pictures in five severities: what corruptions and deformations are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clearsight.core.errors import UsageError
from clearsight.core.nouns import ImagesNHWC

SEVERITIES = (1, 2, 3, 4, 5)
Change = Callable[[ImagesNHWC, int, int], ImagesNHWC]
"""From pictures, a severity and a seed to changed pictures."""
Group = Literal["published", "extra", "own"]
"""The 15 of the published benchmark, its 4 extra ones, and those defined here."""


@dataclass(frozen=True)
class Distortion:
    """One way in which pictures become worse.

    Args:
        change: the change itself.
        title: how people call it.
        group: where it is defined; the mean corruption error counts "published" ones alone.
        colour: it changes colours only, so nothing of a grey picture.
        uneven: why pictures do not differ more with every severity; empty where they do.
    """

    change: Change
    title: str
    group: Group = "own"
    colour: bool = False
    uneven: str = ""

    def __call__(self, images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
        """Return changed pictures of the same shape; the input is not modified.

        Args:
            images_nhwc: (n, h, w, c) uint8 of any size, c 1 or 3.
            severity: 1 (slight) to 5 (strong).
            seed: >= 0; the same seed, the same change of the picture in the same place.

        Raises:
            UsageError: a severity out of range, or no such pictures.
        """
        check_severity(severity)
        if images_nhwc.dtype != np.uint8 or images_nhwc.ndim != 4 or 0 in images_nhwc.shape[1:]:
            raise UsageError(
                f"{self.title} takes uint8 pictures (n, h, w, c); got {images_nhwc.dtype} "
                f"{images_nhwc.shape}."
            )
        if len(images_nhwc) == 0:
            return images_nhwc.copy()
        return self.change(images_nhwc, severity, seed)

    def at(self, severity: int) -> AtSeverity:
        """Return the `ImageFilter` of one severity.

        Raises:
            UsageError: the severity is out of range.

        Example:
            >>> from clearsight.robust.corruptions import CORRUPTIONS
            >>> fog = CORRUPTIONS.load("fog").at(3)
            >>> fog(np.zeros((2, 8, 8, 3), np.uint8), seed=1).shape
            (2, 8, 8, 3)
        """
        check_severity(severity)
        return AtSeverity(self, severity)


@dataclass(frozen=True)
class AtSeverity:
    """A distortion of one severity: an `ImageFilter`."""

    distortion: Distortion
    severity: int

    def __call__(self, images_nhwc: ImagesNHWC, seed: int) -> ImagesNHWC:
        """Return changed pictures; see `Distortion`."""
        return self.distortion(images_nhwc, self.severity, seed)


def distortion(
    title: str, *, group: Group = "own", colour: bool = False, uneven: str = ""
) -> Callable[[Change], Distortion]:
    """Return a decorator that makes a function a `Distortion`; the arguments are Distortion's."""

    def decorate(change: Change) -> Distortion:
        return Distortion(change, title, group, colour, uneven)

    return decorate


def check_severity(severity: Any) -> None:
    """Refuse a severity that is not 1, 2, 3, 4 or 5.

    Raises:
        UsageError: it is not.
    """
    whole = isinstance(severity, (int, np.integer)) and not isinstance(severity, bool)
    if not whole or severity not in SEVERITIES:
        raise UsageError(f"A severity is 1 (slight) to 5 (strong); got {severity!r}.")
