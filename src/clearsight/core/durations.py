"""Durations as people write them: 90s, 10m, 1.5h."""

from __future__ import annotations

import re

from clearsight.core.errors import ConfigError

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """Read a duration.

    Args:
        text: a positive number with an optional unit s, m, h or d; no unit means seconds.

    Returns:
        Seconds.

    Raises:
        ConfigError: anything else.

    Example:
        >>> seconds("1.5m")
        90.0
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if match is None or not 0 < float(match[1]) < float("inf"):
        raise ConfigError(
            f"A time is a positive number with s, m, h or d (90s, 10m); got {text!r}."
        )
    return float(match[1]) * _UNITS_S[match[2]]


def text(duration_s: float) -> str:
    """Write a duration for a person.

    Example:
        >>> text(95), text(7300), text(4.25)
        ('1 min 35 s', '2 h 1 min', '4.2 s')
    """
    if duration_s < 10:
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    if whole < 60:
        return f"{whole} s"
    minutes, rest_s = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"
