"""A curve in a few characters."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 16


def sparkline(values: Sequence[float]) -> str:
    """Return the newest values as bars between their least and largest.

    Example:
        >>> sparkline([0.0, 0.5, 1.0])
        '▁▅█'
    """
    seen = values[-WIDTH:]
    low, high = min(seen), max(seen)
    if high == low:
        return BARS[0] * len(seen)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in seen)
