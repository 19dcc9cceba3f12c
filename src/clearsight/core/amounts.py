"""Amounts of memory as people write them: 500MB, 4GB, 1.5GiB."""

from __future__ import annotations

import re

from clearsight.core.errors import ConfigError

_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def parse_bytes(text: str) -> int:
    """Read an amount of memory.

    Args:
        text: a positive number with a unit kB, MB, GB, KiB, MiB or GiB, in any case.

    Returns:
        Bytes.

    Raises:
        ConfigError: anything else.

    Example:
        >>> parse_bytes("500MB"), parse_bytes("1.5 GiB")
        (500000000, 1610612736)
    """
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([kmg]i?b)\s*", text.lower())
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"An amount of memory is a number with MB or GB (500MB); got {text!r}.")
    return int(float(match[1]) * _UNITS[match[2]])
