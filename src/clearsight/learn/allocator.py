"""Lets the C library keep freed memory while a model is trained: large arrays come and go."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
AFTERWARDS = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 32 * 1024**2, M_TRIM_THRESHOLD: 64 * 1024**2}
"""Where glibc's own adaptation ends in a process with large arrays; touching any of the three
switches ends that adaptation, so they are not set back to where it begins."""
LARGEST = 2**31 - 1


@contextmanager
def kept_memory() -> Iterator[None]:
    """Give freed memory back to the system only at the end of the block.

    By default glibc returns every large freed array to the system, and the next one of that size
    is mapped and filled with zeros page by page, which costs a good part of a training step (see
    decision 0015). The process keeps its largest size until the end of the block. With another C
    library nothing is changed.

    Source:
        mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, LARGEST)
    try:
        yield
    finally:
        for switch, value in AFTERWARDS.items():
            libc.mallopt(switch, value)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library where it is glibc; others have no such switches."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt") else None
