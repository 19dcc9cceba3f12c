"""Finds out where a training stopped giving finite numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def finite(tensors: Iterator[Tensor]) -> bool:
    """Whether every number in floating-point tensors is finite."""
    return all(bool(torch.isfinite(value).all()) for value in tensors if value.is_floating_point())


def cause(network: nn.Module, loss: Callable[[], Tensor]) -> str:
    """Return in words where numbers stop being finite: weights, a layer, the loss or a gradient.

    Args:
        network: as it stood before the step that failed.
        loss: runs the network on that step's pictures and returns the loss.
    """
    broken = [name for name, value in network.named_parameters() if not finite(iter([value]))]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        return f"the weights {broken[0]!r}{more} are not finite"
    with _first_broken_output(network) as found:
        value = loss()
    if found:
        return f"the output of layer {found[0]} is the first that is not finite"
    if not bool(torch.isfinite(value)):
        return "the network's scores are finite, but the loss of them is not"
    value.backward()  # type: ignore[no-untyped-call]
    for name, weight in network.named_parameters():
        if weight.grad is not None and not finite(iter([weight.grad])):
            return f"the gradient of {name!r} is not finite"
    return "the loss was not finite"


def told_of_divergence(what: str, checkpoint: Path | None, best: float | None) -> str:
    """Return what a user is told who must decide how to go on.

    Args:
        what: happened, and where.
        checkpoint: the last good one, if one was written.
        best: validation accuracy so far.
    """
    told = [what]
    if checkpoint is not None:
        told.append(f"The last good checkpoint is kept: {checkpoint}.")
    if best is not None:
        told.append(f"The best validation accuracy so far was {best:.4f}.")
    start = "from the start" if checkpoint is None else "from that checkpoint"
    told.append(
        f"Continue {start} at half the rate with --resume, or begin a new run with a smaller "
        "--set training.lr=... or with --set training.clip=1."
    )
    return " ".join(told)


@contextmanager
def _first_broken_output(network: nn.Module) -> Iterator[list[str]]:
    found: list[str] = []
    names = {part: name for name, part in network.named_modules()}

    def look(part: nn.Module, inputs: Any, output: Any) -> None:
        if not found and isinstance(output, Tensor) and not finite(iter([output])):
            found.append(f"{names[part] or 'the network'!r} ({type(part).__name__})")

    handles = [part.register_forward_hook(look) for part in network.modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
