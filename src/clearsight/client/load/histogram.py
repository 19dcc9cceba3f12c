"""Latencies in bounded memory: every value is known to 0.1 %, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

STEPS = 1024  # linear steps in every power of two: a step is at most 1/1024 of its value
_BITS = 11
_MOST_US = 2**42  # 50 days
MOST_ADDED = 10_000  # values that `corrected` adds for one

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}


class Histogram:
    """Counts values in steps that grow with the value.

    Below 2048 µs a step is 1 µs; beyond, each power of two has 1024 steps. Smallest, largest and
    mean are exact.

    Source: G. Tene, HdrHistogram (the same layout, 3 significant digits).

    Example:
        >>> times = Histogram()
        >>> for milliseconds in range(1, 101):
        ...     times.add(milliseconds / 1000)
        >>> round(times.quantile(0.99) * 1000)
        99
    """

    __slots__ = ("_counts", "count", "largest_s", "smallest_s", "total_s")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total_s, self.largest_s, self.smallest_s = 0.0, 0.0, float("inf")

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a value; a negative one counts as 0."""
        seconds = max(0.0, seconds)
        value = min(round(seconds * 1e6), _MOST_US)
        shift = max(0, value.bit_length() - _BITS)
        index = shift * STEPS + (value >> shift)
        self._counts[index] = self._counts.get(index, 0) + times
        self.count += times
        self.total_s += seconds * times
        self.largest_s = max(self.largest_s, seconds)
        self.smallest_s = min(self.smallest_s, seconds)

    def quantile(self, share: float) -> float:
        """Return the value in seconds that `share` of all values do not exceed; 0 when empty.

        Args:
            share: in [0, 1].
        """
        if not self.count:
            return 0.0
        rank, seen = share * self.count, 0
        for value_s, times in self.steps():
            seen += times
            if seen >= rank:
                return min(max(value_s, self.smallest_s), self.largest_s)
        return self.largest_s

    def share_within(self, seconds: float) -> float:
        """Return the share of values up to `seconds`; 1 when there are none."""
        within = sum(times for value_s, times in self.steps() if value_s <= seconds)
        return within / self.count if self.count else 1.0

    def steps(self) -> Iterator[tuple[float, int]]:
        """Yield (largest value of the step in seconds, count), smallest first."""
        for index, times in sorted(self._counts.items()):
            yield _highest_us(index) / 1e6, times

    def corrected(self, interval_s: float) -> Histogram:
        """Return what would have been seen by requests sent every `interval_s`, answered or not.

        A closed loop sends nothing while it waits, so one long answer hides all those that would
        have had to wait behind it ("coordinated omission"). Each value adds them: less by one,
        two, ... intervals.

        Args:
            interval_s: seconds between the requests that a client would have sent.

        Source: HdrHistogram, `copyCorrectedForCoordinatedOmission`.
        """
        whole = Histogram()
        interval_s = max(interval_s, self.largest_s / MOST_ADDED, 1e-6)
        for step_s, times in self.steps():
            value_s = min(step_s, self.largest_s)
            whole.add(value_s, times)
            missing_s = value_s - interval_s
            while missing_s >= interval_s:
                whole.add(missing_s, times)
                missing_s -= interval_s
        return whole

    def summary_ms(self) -> dict[str, Any]:
        """Return count, mean, smallest, largest and the usual percentiles in milliseconds."""
        if not self.count:
            return {"n": 0}
        percentiles = {name: self.quantile(share) for name, share in QUANTILES.items()}
        values = {
            "mean": self.total_s / self.count,
            "min": self.smallest_s,
            **percentiles,
            "max": self.largest_s,
        }
        return {"n": self.count, **{name: round(v * 1000, 3) for name, v in values.items()}}


def _highest_us(index: int) -> int:
    """Return the largest value that falls into a step."""
    if index < 2 * STEPS:
        return index
    shift = index // STEPS - 1
    return ((index - shift * STEPS + 1) << shift) - 1
