"""Which input sides a timm model can take, and what a picture of each costs."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from clearsight.core.errors import ConfigError

STEP = 32
"""What most backbones shrink a picture by; sides are tried in such steps, or in patches."""
SHOWN = 4
SMALLEST, LARGEST = 16, 1024


def own_side(name: str) -> int:
    """Return the side in pixels that a timm model was made for."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return int(config.input_size[-1]) if config is not None else 224


@cache
def cost(name: str, side: int) -> float | None:
    """Return the million multiplications of one picture, or None where the side cannot be taken.

    The model is built and run without memory or arithmetic (torch's meta device), so the answer
    is what the model itself says of this side.

    Args:
        name: a timm model name.
        side: of the square input in pixels.
    """
    from torch.utils.flop_counter import FlopCounterMode

    try:
        model = create(name, side, classes=2, device="meta").eval()
        pixels = torch.zeros(1, 3, side, side, device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            given = model(pixels)
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError):
        return None
    right = isinstance(given, torch.Tensor) and tuple(given.shape) == (1, 2)
    return float(counter.get_total_flops()) / 2e6 if right else None


def create(name: str, side: int | None, classes: int, device: str | None = None) -> Any:
    """Return a timm model with random weights; made for `side` where its shape depends on it.

    Args:
        name: a timm model name.
        side: of the square input in pixels; None leaves the model's own.
        classes: outputs of the classifier; 0 leaves it out.
        device: where to build it.
    """
    import timm

    config = timm.get_pretrained_cfg(name)
    fixed = config is not None and config.fixed_input_size
    options: dict[str, Any] = {"img_size": side} if side is not None and fixed else {}
    if device is None:
        return timm.create_model(name, num_classes=classes, **options)
    with torch.device(device):
        return timm.create_model(name, num_classes=classes, **options)


def check_side(name: str, side: int) -> None:
    """Accept an input side that the model can take.

    Raises:
        ConfigError: it cannot; the message names sides that it can.
    """
    if side == own_side(name) or cost(name, side) is not None:
        return
    smaller, larger = _near(name, side)
    known = ", ".join(str(size) for size in (*smaller, *larger)) or "none found"
    raise ConfigError(
        f"{name} cannot take pictures of {side}x{side} pixels. Sides near it that it takes: "
        f"{known}. Use --set family.side={(larger or smaller or [own_side(name)])[0]}."
    )


def next_side(name: str, wanted: int) -> int:
    """Return the smallest side from `wanted` on that the model takes, at most its own.

    Args:
        name: a timm model name.
        wanted: side in pixels.
    """
    own, step = own_side(name), _step(name)
    side = max(step, step * -(-wanted // step))
    while side < own:
        if cost(name, side) is not None:
            return side
        side += step
    return own


def _near(name: str, side: int) -> tuple[list[int], list[int]]:
    """Sides that the model takes below and above, nearest first (below: ascending)."""
    step = _step(name)
    up = range(step * (side // step + 1), min(LARGEST, side + 40 * step) + 1, step)
    down = range(step * (-(-side // step) - 1), SMALLEST - 1, -step)
    larger = _first(name, up, SHOWN)
    smaller = _first(name, down, 2)
    own = own_side(name)
    if own not in (*larger, *smaller):
        larger.append(own)
    return sorted(smaller), larger


def _first(name: str, sides: range, wanted: int) -> list[int]:
    found: list[int] = []
    for side in list(sides)[:12]:
        if len(found) == wanted:
            break
        if cost(name, side) is not None:
            found.append(side)
    return found


@cache
def _step(name: str) -> int:
    """The side of a patch where a model cuts pictures into patches and keeps them, else 32."""
    model = create(name, None, classes=0, device="meta")
    reductions = [info["reduction"] for info in getattr(model, "feature_info", [])]
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if patch is None or len(set(reductions)) > 1:
        return STEP
    return int(patch if isinstance(patch, int) else patch[0])
