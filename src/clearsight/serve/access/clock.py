"""Two readings of time that a wall clock moved by hand, or by a broken time server, cannot bend."""

from __future__ import annotations

import time
from collections.abc import Callable


def elapsed_s() -> float:
    """Return seconds on a clock that nobody sets; on Linux it also counts while suspended."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Clock:
    """Tells time to limits and to expiry.

    Args:
        wall: seconds since 1970 as the machine believes.
        elapsed: seconds on a clock that never jumps.

    Example:
        >>> Clock(wall=lambda: 1e9, elapsed=lambda: 5.0).steady()
        1000000000.0
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = elapsed_s
    ) -> None:
        self.wall, self.elapsed = wall, elapsed
        self._began = wall() - elapsed()
        self._latest = 0.0

    def steady(self) -> float:
        """Return the wall clock's time at the start plus what has passed since: for quotas.

        A wall clock that jumps changes nothing while the process lives.
        """
        return self._began + self.elapsed()

    def latest(self) -> float:
        """Return the latest time that was ever shown: for expiry. It never goes back."""
        self._latest = max(self._latest, self.steady(), self.wall())
        return self._latest
