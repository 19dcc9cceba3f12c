"""Tells running out of memory from other failures."""

from __future__ import annotations

import gc

import torch

CPU_MESSAGES = ("can't allocate memory", "not enough memory", "cannot allocate memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a tensor did not fit into memory, on a GPU or the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in told for part in CPU_MESSAGES)


def free_memory() -> None:
    """Give back what a failed step left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
