"""When a call is made again, and after how long."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass

RETRIED = frozenset({429, 502, 503})
"""Statuses that say "not now"; the request was not worked on, or may be repeated."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits grow twofold and are drawn at random, so that many clients do not come back at once.

    Args:
        attempts: how often a request is made in all.
        first_s: longest first wait.
        most_s: longest wait that grows by itself; a service's Retry-After may ask for more.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    attempts: int = 4
    first_s: float = 0.1
    most_s: float = 5.0

    def wait_s(self, attempt: int, asked_s: float | None, draw: float) -> float:
        """Return the seconds before the next attempt.

        Args:
            attempt: how many were made, from 1.
            asked_s: what the service asked for; the wait is never shorter.
            draw: a random number in [0, 1).

        Example:
            >>> Backoff().wait_s(3, None, 0.5), Backoff().wait_s(1, 2.0, 0.5)
            (0.2, 2.05)
        """
        grown = min(self.most_s, self.first_s * 2.0 ** (attempt - 1)) * draw
        return grown if asked_s is None else asked_s + grown


def retry_after_s(text: str | None, now: float | None = None) -> float | None:
    """Read a Retry-After header: seconds, or a date.

    Args:
        text: the header's value; None where there is none.
        now: seconds since 1970; the clock's where None.

    Returns:
        Seconds from now, 0 or more; None where there is no header or it cannot be read.

    Source: RFC 9110, section 10.2.3.

    Example:
        >>> retry_after_s("3"), retry_after_s("Thu, 01 Jan 1970 00:00:09 GMT", now=5.0)
        (3.0, 4.0)
        >>> retry_after_s("soon") is None
        True
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))
