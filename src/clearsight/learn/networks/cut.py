"""Cuts a model in two: a lower part that is run once, and an upper part that is trained."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SAME = 1e-4


@dataclass(frozen=True)
class Cut:
    """A place in a model where one feature map holds all that is needed from there on.

    Args:
        below: names of the modules that are run before, the last one gives the map.
        shape: (channels, height, width) of the map.
        share: part of the model's multiplications that are above.
    """

    below: tuple[str, ...]
    shape: tuple[int, int, int]
    share: float


def find_cuts(model: nn.Module, side: int) -> list[Cut]:
    """Return the places where a model can be cut, the lowest first; none where it cannot.

    Modules of the first level (and of the sequences among them) are noted in the order in which
    they run. A cut is offered before each module that makes the map smaller or wider.

    Args:
        model: a timm model in evaluation mode.
        side: of its square input in pixels.
    """
    from torch.utils.flop_counter import FlopCounterMode

    seen: list[tuple[str, Any]] = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.append((name, out)))
        for name, module in _units(model)
    ]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    names = [name for name, _ in seen]
    if len(set(names)) < len(names):
        return []
    # module names begin with the model's class
    counts = {k.partition(".")[2]: sum(v.values()) for k, v in counter.get_flop_counts().items()}
    total, below, cuts = max(1, counter.get_total_flops()), 0.0, []
    for number, (name, given) in enumerate(seen[:-1]):
        below += counts.get(name, 0)
        following = seen[number + 1][1]
        if _is_map(given) and (not _is_map(following) or following.shape != given.shape):
            shape = (int(given.shape[1]), int(given.shape[2]), int(given.shape[3]))
            cuts.append(Cut(tuple(names[: number + 1]), shape, 1 - below / total))
    return cuts


class LowerPart(nn.Module):
    """Pixels in [0, 255] -> the map at a cut as "embedding" (n, height * width * channels).

    Args:
        network: normalises pixels and runs `network.model`.
        cut: where.
    """

    def __init__(self, network: nn.Module, cut: Cut) -> None:
        super().__init__()
        self.network, self.cut = network, cut

    def outputs(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the map, channels last, in one row a picture."""
        held: list[Tensor] = []
        module = self.network.model.get_submodule(self.cut.below[-1])  # type: ignore[union-attr,operator]
        hook = module.register_forward_hook(lambda _m, _i, out: held.append(out))
        try:
            self.network(pixels)
        finally:
            hook.remove()
        return {"embedding": held[0].permute(0, 2, 3, 1).flatten(1)}


def upper_part(model: nn.Module, cut: Cut, side: int) -> nn.Module | None:
    """Return a copy of the model that goes on from the map at a cut, or None if it does not.

    Everything below becomes an identity; what the copy gives for a real map is compared with the
    model, since some models (with positions, or links past the cut) cannot be run from there.

    Args:
        model: a timm model in evaluation mode.
        cut: where.
        side: of the model's square input in pixels.
    """
    upper = copy.deepcopy(model)
    for name in cut.below:
        parent, _, own = name.rpartition(".")
        setattr(upper.get_submodule(parent), own, nn.Identity())
    held: list[Tensor] = []
    hook = model.get_submodule(cut.below[-1]).register_forward_hook(
        lambda _m, _i, out: held.append(out)
    )
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            wanted = model(pixels)
            got = upper(held[0])
    except (AssertionError, RuntimeError, TypeError, ValueError):
        return None
    finally:
        hook.remove()
    if got.shape != wanted.shape:
        return None
    same = float((got - wanted).abs().max()) <= SAME * max(1.0, float(wanted.abs().max()))
    return upper if same else None


def _units(model: nn.Module) -> list[tuple[str, nn.Module]]:
    found = []
    for name, child in model.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            found += [(f"{name}.{inner}", module) for inner, module in child.named_children()]
        else:
            found.append((name, child))
    return found


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4
