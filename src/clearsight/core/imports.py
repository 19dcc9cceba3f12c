"""Importing a library without a part of it that it can do without."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(name: str) -> Iterator[None]:
    """Make a module look as if it were not installed, for the imports inside.

    It can be imported afterwards. Nothing happens where it was imported before.

    Args:
        name: of a module that the library imports only where it is there.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to say so
    try:
        yield
    finally:
        del sys.modules[name]
