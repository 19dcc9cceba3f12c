"""Attacks on many pictures, one after the other, and whether the gradients can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import ClearsightError
from clearsight.core.nouns import ImagesNHWC, PixelsNHWC, Predictor, Scores
from clearsight.core.seeds import generator
from clearsight.robust.attacks import Labels, Target
from clearsight.robust.attacks.pgd import Pgd
from clearsight.robust.steps import CROSS_ENTROPY, fooled

ORDER = ("fgsm", "pgd", "apgd-ce", "apgd-t", "square")
"""Cheap ones first. Attacks of others come after these."""
ENSEMBLE = "ensemble"
PIECE_PIXELS = 1 << 20
PIECE_IMAGES = 256
OUTSIDE = 1e-2
"""Rounding of float32 at 255, in grey levels."""
MASKED_SHARE, MASKED_LEAST = 0.02, 3
UNBOUNDED_LEFT = 0.05
UNBOUNDED = 255.0
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Attacked:
    """What attacks did to some pictures.

    Args:
        clean: (n,) which the recognizer gets right unharmed.
        right: by attack, (n,) which it gets right still.
        changed: by attack, the first picture that was fooled: its place, the changed pixels
            (h, w, c) float32, and what it was taken for.
        without_slope: (n,) right pictures whose gradient is 0 everywhere.
        unbounded: (n,) right pictures that are right still when every pixel may be changed.
    """

    clean: Right
    right: dict[str, Right]
    changed: dict[str, tuple[int, PixelsNHWC, int]]
    without_slope: Right
    unbounded: Right

    @property
    def ensemble(self) -> Right:
        """(n,), which no attack could make wrong."""
        return np.asarray(np.logical_and.reduce([self.clean, *self.right.values()]))


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that real robustness does not show: gradients are hidden, not harmless.

    Args:
        kind: which sign.
        n: pictures that show it.
        of: pictures looked at.
        meaning: what it says, for a person.
    """

    kind: str
    n: int
    of: int
    meaning: str


class Rounded:
    """A `Target` made of a recognizer that takes whole grey levels: rounds what it is asked."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def logits(self, pixels_nhwc: PixelsNHWC) -> Scores:
        """Return the scores of the pictures as a camera would store them."""
        rounded = np.clip(np.rint(pixels_nhwc), 0, 255).astype(np.uint8)
        return self._predictor.logits(rounded)


def ordered(keys: list[str]) -> list[str]:
    """Return attacks from the cheapest to the dearest."""
    return sorted(keys, key=lambda key: (ORDER.index(key) if key in ORDER else len(ORDER), key))


def attack(
    model: Any,
    images_nhwc: ImagesNHWC,
    labels: Labels,
    attacks: Mapping[str, Any],
    radius: float,
    seed: int,
) -> Attacked:
    """Run attacks, each by itself, on the pictures that the recognizer gets right.

    Args:
        model: a `Differentiable`; a `Target` where every attack is black-box.
        images_nhwc: (n, h, w, c) uint8, prepared.
        labels: (n,) true columns.
        attacks: by key, in the order in which they run.
        radius: in grey levels (Linf), > 0.
        seed: fixes every random choice.

    Raises:
        ClearsightError: an attack left the ball; a fault of the attack.
    """
    pixels = images_nhwc.astype(np.float32)
    size = max(1, min(PIECE_IMAGES, PIECE_PIXELS // pixels[0].size))
    clean = _right(model, pixels, labels, size)
    found = Attacked(clean, {}, {}, np.zeros_like(clean), np.zeros_like(clean))
    order = np.flatnonzero(clean)
    for key, one in attacks.items():
        right = clean.copy()
        for start in range(0, len(order), size):
            part = order[start : start + size]
            random = generator(seed, "attack", key, start)
            own = pixels[part]
            harmed = one(model, own, labels[part], radius, random)
            _check_ball(key, harmed, own, radius)
            logits = model.logits(harmed)
            wrong = fooled(logits, labels[part])
            right[part[wrong]] = False
            if key not in found.changed and wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                taken = int(logits[row].argmax())
                found.changed[key] = (int(part[row]), harmed[row].copy(), taken)
        found.right[key] = right
    if any(not one.black_box for one in attacks.values()):
        _look_for_masking(model, pixels, labels, order, size, seed, found)
    return found


def signs_of_masking(found: Attacked) -> list[Sign]:
    """Return what suggests that gradients are hidden and the recognizer less robust than it seems.

    Args:
        found: with fgsm and pgd, apgd-ce or apgd-t, and square, as far as they were run.

    Source: Athalye, Carlini and Wagner 2018, "Obfuscated Gradients Give a False Sense of Security";
        Carlini et al. 2019, "On Evaluating Adversarial Robustness", section 3.
    """
    n = int(found.clean.sum())
    right = found.right
    signs = [
        Sign("zero gradients", int(found.without_slope.sum()), n, "no direction to follow"),
    ]
    if "fgsm" in right and "pgd" in right:
        one_step = int((right["pgd"] & ~right["fgsm"]).sum())
        signs.append(
            Sign("one step beats many", one_step, n, "FGSM fools pictures that PGD does not")
        )
    iterative = [right[key] for key in ("pgd", "apgd-ce", "apgd-t") if key in right]
    if "square" in right and iterative:
        blind = np.logical_and.reduce(iterative) & ~right["square"]
        meaning = "a search without gradients fools pictures that gradients do not"
        signs.append(Sign("black box beats white box", int(blind.sum()), n, meaning))
    shown = [sign for sign in signs if sign.n >= max(MASKED_LEAST, MASKED_SHARE * n)]
    left = int(found.unbounded.sum())
    if left >= max(MASKED_LEAST, UNBOUNDED_LEFT * n):
        meaning = "changing every pixel as much as one likes should fool it always"
        shown.append(Sign("unbounded attack fails", left, n, meaning))
    return shown


def joined(parts: list[Attacked]) -> Attacked:
    """Return what attacks did to several pieces of pictures as one.

    Args:
        parts: one or more, all with the same attacks.
    """
    changed: dict[str, tuple[int, PixelsNHWC, int]] = {}
    before = 0
    for part in parts:
        for key, (place, pixels, taken) in part.changed.items():
            changed.setdefault(key, (before + place, pixels, taken))
        before += len(part.clean)
    return Attacked(
        np.concatenate([part.clean for part in parts]),
        {key: np.concatenate([part.right[key] for part in parts]) for key in parts[0].right},
        changed,
        np.concatenate([part.without_slope for part in parts]),
        np.concatenate([part.unbounded for part in parts]),
    )


def _right(model: Target, pixels: PixelsNHWC, labels: Labels, size: int) -> Right:
    starts = range(0, len(labels), size)
    parts = [(pixels[i : i + size], labels[i : i + size]) for i in starts]
    return np.concatenate([~fooled(model.logits(part), truth) for part, truth in parts])


def _check_ball(key: str, harmed: PixelsNHWC, clean: PixelsNHWC, radius: float) -> None:
    moved = float(np.abs(harmed - clean).max(initial=0))
    low, high = float(harmed.min(initial=0)), float(harmed.max(initial=0))
    if not (moved <= radius + OUTSIDE and low >= 0 and high <= 255):
        raise ClearsightError(
            f"The attack {key!r} left its ball: it changed a pixel by {moved:.3f} of {radius:.3f} "
            f"grey levels, to {low:.1f} at least and {high:.1f} at most. Its figures would mean "
            "nothing; mend the attack."
        )


def _look_for_masking(
    model: Any,
    pixels: PixelsNHWC,
    labels: Labels,
    order: NDArray[np.int64],
    size: int,
    seed: int,
    found: Attacked,
) -> None:
    """Write into `found` which pictures have no gradient, and which no change at all can fool."""
    anywhere = Pgd(Pgd.Config(steps=40, step_share=0.1))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        slope = model.gradient(pixels[part], CROSS_ENTROPY.of(labels[part]))
        found.without_slope[part] = ~np.any(slope.gradients, axis=(1, 2, 3))
        random = generator(seed, "unbounded", start)
        harmed = anywhere(model, pixels[part], labels[part], UNBOUNDED, random)
        found.unbounded[part] = ~fooled(model.logits(harmed), labels[part])
