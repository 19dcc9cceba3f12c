"""The one place where the device is chosen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import deterministic as _deterministic

_DETERMINISTIC: Any = _deterministic  # its attribute is a property torch's stubs lack


@dataclass(frozen=True)
class Device:
    """Where a training runs and how.

    Args:
        name: torch device name.
        autocast: lower precision for matrix products, or None for float32 throughout.
        threads: CPU threads, recorded because sums depend on them.
    """

    name: str
    autocast: torch.dtype | None
    threads: int

    def place(self, network: nn.Module) -> None:
        """Move a network here, in channels-last layout."""
        network.to(self.name, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def pixels(self, images_nhwc: Tensor) -> Tensor:
        """Return uint8 (n, h, w, c) as float32 (n, c, h, w), channels last, in [0, 255]."""
        moved = images_nhwc.to(self.name, non_blocking=True)
        return moved.permute(0, 3, 1, 2).to(torch.float32)

    def seed(self, seed: int) -> None:
        """Seed torch's own generators, as `torch.manual_seed` does.

        On a CPU that function formats a stack trace and keeps it for a GPU that never comes:
        measured, a millisecond a step.
        """
        torch.default_generator.manual_seed(seed)
        if self.name != "cpu":
            torch.cuda.manual_seed(seed)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Run a forward pass in this device's precision."""
        if self.autocast is None:
            yield
        else:
            with torch.autocast(self.name.split(":")[0], self.autocast):
                yield


def choose_device() -> Device:
    """Return the GPU with bfloat16 where there is one, else the CPU in float32.

    bfloat16 on the CPU is left out on purpose: it was measured slower than float32 on processors
    without AMX.
    """
    threads = torch.get_num_threads()
    if torch.cuda.is_available():
        low = torch.bfloat16 if torch.cuda.is_bf16_supported() else None
        return Device("cuda", low, threads)
    return Device("cpu", None, threads)


@contextlib.contextmanager
def repeatable(device: Device) -> Iterator[None]:
    """Make torch repeatable inside the block and restore its settings afterwards.

    On a GPU an operation without a repeatable form only warns.
    """
    # use_deterministic_algorithms() would import torch's compiler first, seconds of work
    before = torch.get_deterministic_debug_mode()
    fill, threads = _DETERMINISTIC.fill_uninitialized_memory, torch.get_num_threads()
    random_state = torch.get_rng_state()
    try:
        torch.set_num_threads(device.threads)
        _DETERMINISTIC.fill_uninitialized_memory = False
        torch.set_deterministic_debug_mode("error" if device.name == "cpu" else "warn")
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        _DETERMINISTIC.fill_uninitialized_memory = fill
        torch.set_num_threads(threads)
        torch.set_rng_state(random_state)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Keep GPUs from rounding convolutions to TF32 inside the block."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
