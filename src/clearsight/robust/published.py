"""Constants of the published corruptions, which are given for three sizes of picture.

Source: Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions
    and Perturbations", and the programs its data sets were made with (CIFAR-10-C, Tiny-ImageNet-C,
    ImageNet-C; github.com/hendrycks/robustness).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from clearsight.core.nouns import ImagesNHWC

Constant = TypeVar("Constant")
SIDES = (32, 64, 224)
"""The sizes that constants were published for: CIFAR-10-C, Tiny-ImageNet-C, ImageNet-C."""


def published(
    images_nhwc: ImagesNHWC,
    severity: int,
    side_32: Sequence[Constant],
    side_64: Sequence[Constant],
    side_224: Sequence[Constant],
) -> Constant:
    """Return the constant of a severity for the published size that is nearest to the pictures.

    Args:
        images_nhwc: (n, h, w, c) pictures; their shorter side counts, by its ratio.
        severity: 1 to 5.
        side_32, side_64, side_224: five constants each.
    """
    side = min(images_nhwc.shape[1:3])
    if side * side < SIDES[0] * SIDES[1]:
        return side_32[severity - 1]
    if side * side < SIDES[1] * SIDES[2]:
        return side_64[severity - 1]
    return side_224[severity - 1]
