"""What a key may do, how much, and until when: read from text and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clearsight.core.durations import seconds
from clearsight.core.errors import ConfigError, nearest
from clearsight.serve.access.caller import SCOPES, Scope
from clearsight.serve.access.tokens import id_of

RATE_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}
QUOTA_UNITS = ("day", "month")
AMOUNT = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*(?:/\s*([a-z]+))?\s*")
TENANT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many pictures a key may send; None where nothing bounds it.

    Args:
        rate: pictures a second, over time; as many at once (but at least one) after a pause.
        day, month: pictures in one day or month of UTC.
    """

    rate: float | None = None
    day: int | None = None
    month: int | None = None

    @property
    def burst(self) -> float:
        """Pictures at once after a pause."""
        return max(1.0, self.rate or 0.0)

    def as_json(self) -> dict[str, float | int | None]:
        """Return plain values for lists and the audit log."""
        return {"rate": self.rate, "day": self.day, "month": self.month}


def read_allowance(rate: str | None, quotas: Sequence[str]) -> Allowance:
    """Read an allowance from text.

    Args:
        rate: `10/s`, `600/min` or `50/h`; without a unit, a second.
        quotas: `1000/day`, `20000/month`, or both; without a unit, a day.

    Raises:
        ConfigError: anything else.

    Example:
        >>> read_allowance("30/min", ["1000/day", "20000/month"])
        Allowance(rate=0.5, day=1000, month=20000)
    """
    found: dict[str, int] = {}
    for text in quotas:
        amount, unit = _amount(text, "A quota", "day", QUOTA_UNITS, "1000/day, 20000/month")
        if amount != int(amount):
            raise ConfigError(f"A quota is a whole number of pictures; got {text!r}.")
        if unit in found:
            raise ConfigError(f"There are two quotas a {unit}. Give one.")
        found[unit] = int(amount)
    per_s = None
    if rate is not None:
        amount, unit = _amount(rate, "A rate", "s", tuple(RATE_UNITS_S), "10/s, 600/min, 50/h")
        per_s = amount / RATE_UNITS_S[unit]
    return Allowance(per_s, **found)


def read_scopes(text: str) -> frozenset[Scope]:
    """Read scopes separated by commas.

    Raises:
        ConfigError: none, or one that does not exist.

    Example:
        >>> sorted(read_scopes("recognize, metrics"))
        ['metrics', 'recognize']
    """
    return check_scopes(word.strip() for word in text.split(",") if word.strip())


def check_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Return scopes as a set.

    Raises:
        ConfigError: none, or one that does not exist.
    """
    asked = frozenset(words)
    for word in sorted(asked):
        if word not in SCOPES:
            raise ConfigError(f"There is no scope {word[:40]!r}.{nearest(word[:40], SCOPES)}")
    if not asked:
        raise ConfigError(f"A key needs at least one scope. Allowed: {', '.join(SCOPES)}.")
    return frozenset(scope for scope in SCOPES if scope in asked)


def read_expiry(text: str, now: float) -> float:
    """Read when a key ends, in seconds since 1970.

    Args:
        text: a time from now (90d, 12h) or a day (2027-01-31, its beginning in UTC).
        now: seconds since 1970.

    Raises:
        ConfigError: anything else, or a day that has begun.

    Example:
        >>> read_expiry("1970-01-02", now=0.0), read_expiry("2h", now=0.0)
        (86400.0, 7200.0)
    """
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip()):
        try:
            day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError as error:
            raise ConfigError(f"There is no day {text.strip()!r}. Write 2027-01-31.") from error
        if day.timestamp() <= now:
            raise ConfigError(f"A key cannot end in the past: {text.strip()} has begun.")
        return day.timestamp()
    try:
        return now + seconds(text)
    except ConfigError as error:
        raise ConfigError(
            f"A key ends after a time (90d, 12h) or on a day (2027-01-31); got {text[:40]!r}."
        ) from error


def check_name(name: str) -> str:
    """Return a key's name without blanks around it.

    Raises:
        ConfigError: empty, too long, not printable, or a key that was pasted here.
    """
    plain = name.strip()
    if id_of(plain) is not None:
        raise ConfigError("This is a key, not a name. Say what the key is for, such as 'shop'.")
    if not plain or len(plain) > NAME_LENGTH or not plain.isprintable():
        raise ConfigError(f"A key's name has 1 to {NAME_LENGTH} printable letters: what it is for.")
    return plain


def check_tenant(tenant: str) -> str:
    """Return a tenant; "" is the default one.

    Raises:
        ConfigError: letters that no tenant has.
    """
    if tenant and not TENANT.fullmatch(tenant):
        raise ConfigError(
            f"A tenant is 1 to 64 of a-z, 0-9, '_', '.', '-', starting with a letter or digit; "
            f"got {tenant[:80]!r}."
        )
    return tenant


def _amount(
    text: str, what: str, default: str, units: tuple[str, ...], example: str
) -> tuple[float, str]:
    match = AMOUNT.fullmatch(text)
    unit = (match[2] or default) if match else ""
    if match is None or unit not in units or not 0 < float(match[1]) < math.inf:
        raise ConfigError(f"{what} is pictures a {' or '.join(units)} ({example}); got {text!r}.")
    return float(match[1]), unit
