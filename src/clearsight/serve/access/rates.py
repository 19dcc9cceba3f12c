"""Token buckets: how fast an account may send pictures, and an address wrong keys."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable

ROUNDING = 1e-9
ADDRESSES = 10_000  # how many are remembered; the one that was quiet for longest is forgotten
WRONG_BURST = 30.0
WRONG_PER_S = 0.5


class Bucket:
    """A token bucket that starts full.

    Taking more than `burst` at once waits for a full bucket and leaves a debt, so no amount is
    impossible and the rate still holds over time: in any `t` seconds at most
    `burst + per_s * t` is taken, plus what the largest single amount exceeds `burst` by.

    Args:
        per_s: what it fills with a second.
        burst: the most it holds.
        now: seconds on a clock that never jumps.
    """

    __slots__ = ("_at", "_level", "burst", "per_s")

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self.per_s, self.burst = per_s, burst
        self._level, self._at = burst, now

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` may be taken; 0.0 when it may be now."""
        self._fill(now)
        missing = min(amount, self.burst) - self._level
        return missing / self.per_s if missing > ROUNDING else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take an amount for which `wait_s` has just said 0.0."""
        self._fill(now)
        self._level -= amount

    def put_back(self, amount: float) -> None:
        """Give back what was taken and not used."""
        self._level = min(self.burst, self._level + amount)

    def _fill(self, now: float) -> None:
        gained = max(0.0, now - self._at) * self.per_s
        self._level = min(self.burst, self._level + gained)
        self._at = max(self._at, now)


class WrongKeys:
    """Counts wrong keys by address, in a table that cannot grow beyond a bound. Thread-safe.

    Args:
        elapsed: seconds on a clock that never jumps.
        burst: wrong keys that an address may send at once.
        per_s: how many a second after that.
        addresses: most addresses that are remembered.
    """

    def __init__(
        self,
        elapsed: Callable[[], float],
        burst: float = WRONG_BURST,
        per_s: float = WRONG_PER_S,
        addresses: int = ADDRESSES,
    ) -> None:
        self._elapsed, self._burst, self._per_s = elapsed, burst, per_s
        self._most = addresses
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._buckets)

    def count(self, address: str) -> float:
        """Count one wrong key; return the seconds to wait, 0.0 while the address is within bounds.

        Args:
            address: an IP address; IPv6 counts by network of 64 bits, which one household has.
        """
        network, now = network_of(address), self._elapsed()
        with self._lock:
            bucket = self._buckets.get(network)
            if bucket is None:
                bucket = self._buckets[network] = Bucket(self._per_s, self._burst, now)
                if len(self._buckets) > self._most:
                    self._buckets.popitem(last=False)
            else:
                self._buckets.move_to_end(network)
            wait = bucket.wait_s(1.0, now)
            if not wait:
                bucket.take(1.0, now)
            return wait


def network_of(address: str) -> str:
    """Return what wrong keys are counted by: an IPv4 address, the /64 of an IPv6 one.

    Example:
        >>> network_of("2001:db8::1:2:3:4"), network_of("::ffff:192.0.2.7"), network_of("unix")
        ('2001:db8::', '192.0.2.7', 'unix')
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
