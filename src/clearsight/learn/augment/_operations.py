"""The operations that TrivialAugment, RandAugment and AugMix draw from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clearsight.learn import pixel_values
from clearsight.learn.affine import identities, resample, rotations
from clearsight.learn.augment._draws import uniform

FLATTENING = ("identity", "autocontrast", "equalize", "posterize", "solarize")
MOVING = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")
COLOURING = ("brightness", "contrast", "saturation", "sharpness")
ALL = (*FLATTENING, *MOVING, *COLOURING)


@dataclass(frozen=True)
class Ranges:
    """What an operation does at full strength.

    Args:
        degrees: of rotation.
        shear: pixels to the side for each pixel down.
        translate_share: of the side.
        factor_share: by which brightness, contrast, saturation and sharpness factors leave 1.
        bits: fewest that posterizing keeps.
    """

    degrees: float
    shear: float
    translate_share: float
    factor_share: float
    bits: int


def apply_drawn(
    images_nhwc: Tensor,
    operations: tuple[str, ...],
    strength: Tensor,
    ranges: Ranges,
    random: torch.Generator,
) -> Tensor:
    """Return pictures each changed by one operation drawn for it, to the left or to the right.

    Pictures that drew the same operation are changed together.

    Args:
        images_nhwc: uint8 (n, h, w, c); not modified.
        operations: names to draw from, all as likely.
        strength: (n,) in [0, 1].
        ranges: what strength 1 means.
        random: draws operations and directions.
    """
    n, grey = len(images_nhwc), images_nhwc.shape[3] == 1
    names = tuple(name for name in operations if not (grey and name == "saturation"))
    drawn = torch.randint(len(names), (n,), generator=random)
    amounts = strength * (2 * torch.randint(2, (n,), generator=random) - 1)
    result = images_nhwc.clone()
    for number, name in enumerate(names):
        chosen = (drawn == number).nonzero()[:, 0]
        if name != "identity" and len(chosen):
            there = chosen.to(images_nhwc.device)
            result[there] = _OPERATIONS[name](images_nhwc[there], amounts[chosen], ranges)
    return result


def drawn_strength(n: int, strength: float, random: torch.Generator) -> Tensor:
    """Return (n,) strengths from nothing to `strength`."""
    return uniform(n, 0, strength, random)


Operation = Callable[[Tensor, Tensor, Ranges], Tensor]
"""Takes uint8 (n, h, w, c) pictures and (n,) amounts in [-1, 1]."""


def _rotate(images: Tensor, amounts: Tensor, ranges: Ranges) -> Tensor:
    return resample(images, rotations(amounts * ranges.degrees))


def _shear(row: int) -> Operation:
    def shear(images: Tensor, amounts: Tensor, ranges: Ranges) -> Tensor:
        matrices = identities(len(images))
        matrices[:, row, 1 - row] = amounts * ranges.shear
        return resample(images, matrices)

    return shear


def _translate(row: int) -> Operation:
    def translate(images: Tensor, amounts: Tensor, ranges: Ranges) -> Tensor:
        matrices = identities(len(images))
        matrices[:, row, 2] = amounts * ranges.translate_share * images.shape[2 - row]
        return resample(images, matrices)

    return translate


def _factor(name: str) -> Operation:
    def change(images: Tensor, amounts: Tensor, ranges: Ranges) -> Tensor:
        factor, same = 1 + amounts * ranges.factor_share, torch.ones_like(amounts)
        if name == "sharpness":
            return pixel_values.sharpen(images, factor)
        if name == "saturation":
            return pixel_values.recolour(images, same, same, saturation=factor)
        both = {"brightness": same, "contrast": same, name: factor}
        return pixel_values.recolour(images, **both)

    return change


def _posterize(images: Tensor, amounts: Tensor, ranges: Ranges) -> Tensor:
    return pixel_values.posterize(images, (8 - amounts.abs() * (8 - ranges.bits)).round())


def _solarize(images: Tensor, amounts: Tensor, ranges: Ranges) -> Tensor:
    return pixel_values.solarize(images, 256 - 256 * amounts.abs())


_OPERATIONS: dict[str, Operation] = {
    "autocontrast": lambda images, amounts, ranges: pixel_values.autocontrast(images),
    "equalize": lambda images, amounts, ranges: pixel_values.equalize(images),
    "posterize": _posterize,
    "solarize": _solarize,
    "rotate": _rotate,
    "shear-x": _shear(0),
    "shear-y": _shear(1),
    "translate-x": _translate(0),
    "translate-y": _translate(1),
    **{name: _factor(name) for name in COLOURING},
}
