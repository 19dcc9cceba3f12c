"""Pictures a day and a month: counted in memory at once, written to the store behind.

A process that is killed forgets what it counted since its last write (`keyed.FLUSH_S`); one that
is stopped forgets nothing. Several processes see each other's counts after each write, so together
they can exceed a quota by what each of them takes in that time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from clearsight.serve.access.clock import Clock
from clearsight.serve.access.terms import Allowance
from clearsight.serve.errors import QuotaError

Slot = tuple[str, str]
"""An account and a period: "2026-01-31" or "2026-01"."""
KEPT_DAYS, KEPT_MONTHS_DAYS = 62, 400


class Ledger(Protocol):
    """Where counts are kept; `usage.UsageStore`."""

    def add(self, amounts: Mapping[Slot, int]) -> dict[Slot, int]:
        """Add pictures; return the totals of what was added to."""

    def totals(self, periods: Iterable[str]) -> dict[Slot, int]:
        """Return every account's pictures in some periods."""

    def forget(self, first_day: str, first_month: str) -> None:
        """Remove what is older."""


@dataclass(frozen=True, slots=True)
class Periods:
    """The day and the month of UTC around a moment, and when they end in seconds since 1970.

    Example:
        >>> Periods.at(0.0)
        Periods(day='1970-01-01', day_ends=86400.0, month='1970-01', month_ends=2678400.0)
    """

    day: str
    day_ends: float
    month: str
    month_ends: float

    @classmethod
    def at(cls, now: float) -> Periods:
        """Return the periods around a moment in seconds since 1970."""
        today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        tomorrow = today + timedelta(days=1)
        next_month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        return cls(
            f"{today:%Y-%m-%d}", tomorrow.timestamp(), f"{today:%Y-%m}", next_month.timestamp()
        )


class Quotas:
    """Counts every account's pictures and refuses what exceeds its quota. Thread-safe.

    Args:
        ledger: where counts are kept.
        clock: a wall clock that jumps does not begin a new day.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._periods = Periods.at(clock.steady())
        self._stored = ledger.totals([self._periods.day, self._periods.month])
        self._writing: dict[Slot, int] = {}
        self._pending: dict[Slot, int] = {}

    def charge(self, account: str, allowance: Allowance, pictures: int) -> None:
        """Count pictures, all of them or none.

        Raises:
            QuotaError: they would exceed the day's or the month's quota.
        """
        with self._lock:
            now, periods = self._clock.steady(), self._now()
            limits = (
                (periods.day, "day", allowance.day, periods.day_ends),
                (periods.month, "month", allowance.month, periods.month_ends),
            )
            for period, word, most, ends in limits:
                used = self._used((account, period))
                if most is not None and used + pictures > most:
                    raise QuotaError(_refusal(word, most, used, pictures), ends - now)
            self._count(account, pictures)

    def give_back(self, account: str, pictures: int) -> None:
        """Take back what was counted for pictures that got no answer."""
        with self._lock:
            self._count(account, -pictures)

    def used(self, account: str) -> tuple[int, int]:
        """Return an account's pictures of this day and this month, as far as this process knows."""
        with self._lock:
            periods = self._now()
            return self._used((account, periods.day)), self._used((account, periods.month))

    def flush(self) -> None:
        """Write what was counted since the last time.

        Raises:
            StorageError: it is kept for the next time.
        """
        with self._flushing:
            with self._lock:
                self._writing, self._pending = self._pending, {}
            totals: dict[Slot, int] = {}
            try:
                if amounts := {slot: n for slot, n in self._writing.items() if n}:
                    totals = self._ledger.add(amounts)
            except BaseException:
                with self._lock:
                    for slot, pictures in self._writing.items():
                        self._pending[slot] = self._pending.get(slot, 0) + pictures
                    self._writing = {}
                raise
            with self._lock:
                self._stored.update(totals)
                self._writing = {}

    def forget(self) -> None:
        """Remove counts that are older than two months by day and a year by month."""
        now = self._clock.steady()
        day = Periods.at(max(0.0, now - KEPT_DAYS * 86400)).day
        self._ledger.forget(day, Periods.at(max(0.0, now - KEPT_MONTHS_DAYS * 86400)).month)

    def _now(self) -> Periods:
        if self._clock.steady() >= self._periods.day_ends:
            self._periods = Periods.at(self._clock.steady())
            current = (self._periods.day, self._periods.month)
            self._stored = {s: n for s, n in self._stored.items() if s[1] in current}
        return self._periods

    def _used(self, slot: Slot) -> int:
        counts = (self._stored, self._writing, self._pending)
        return sum(count.get(slot, 0) for count in counts)

    def _count(self, account: str, pictures: int) -> None:
        periods = self._now()
        for period in (periods.day, periods.month):
            slot = (account, period)
            self._pending[slot] = self._pending.get(slot, 0) + pictures


def _refusal(word: str, most: int, used: int, pictures: int) -> str:
    left = max(0, most - used)
    return (
        f"The key's quota of pictures a {word} is {most:,}; {left:,} are left and the request "
        f"holds {pictures:,}. It begins anew with the next {word} of UTC."
    )
