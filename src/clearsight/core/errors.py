"""Every error clearsight raises on purpose, in one tree.

    ClearsightError                 exit 1   something failed
    ├── UsageError                  exit 2   the call is wrong: nothing was started
    │   ├── ConfigError             exit 2   an option or configuration value is wrong
    │   ├── UnknownKeyError         exit 2   a name that no registry folder holds
    │   └── MissingExtraError       exit 2   an optional package is not installed
    ├── DataError                   exit 1   the data set cannot be used
    ├── ImageError                  exit 1   one image cannot be used (has a reason code)
    ├── BundleError                 exit 1   a Bundle cannot be trusted or opened
    ├── DuplicateKeyError           exit 1   two implementations claim one key
    ├── StorageError                exit 1   disk full, permission, I/O
    ├── ServiceError                exit 1   the service cannot start or take a request
    ├── InterruptedRun              exit 1   stopped by Ctrl-C; can be resumed
    └── GateError                   exit 3   a gate or check was not met

A message says what was wrong, what was got, what is allowed, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal

ImageReason = Literal[
    "empty",  # zero bytes
    "format",  # magic bytes outside the allow-list
    "pixels",  # more pixels than the limit, read from the header
    "bytes",  # more bytes than the limit
    "undecodable",  # right magic bytes, broken inside
    "unreadable",  # the file cannot be opened (permission, I/O)
]


class ClearsightError(Exception):
    """Root of every error raised on purpose."""

    exit_code = 1


class UsageError(ClearsightError):
    """The call is wrong; nothing was started."""

    exit_code = 2


class ConfigError(UsageError):
    """An option or configuration value is wrong."""


class UnknownKeyError(UsageError):
    """A name that no registry folder holds; the message lists its neighbours.

    Args:
        kind: what was looked up, for example "model family".
        key: the name that was asked for.
        known: every name there is.
    """

    def __init__(self, kind: str, key: str, known: Iterable[str]) -> None:
        self.kind, self.key, self.known = kind, key, sorted(known)
        super().__init__(f"Unknown {kind} {key!r}.{nearest(key, self.known)}")


class MissingExtraError(UsageError):
    """An optional package is not installed.

    Args:
        package: the package that could not be imported.
        extra: the clearsight extra that brings it.
        purpose: what it is needed for.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'clearsight[{extra}]'"
        )


class DuplicateKeyError(ClearsightError):
    """Two implementations claim one key."""


class DataError(ClearsightError):
    """The data set cannot be used."""


class ImageError(ClearsightError):
    """One image cannot be used.

    Args:
        reason: a stable code, see `ImageReason`.
        detail: what was got and what is allowed, for a person.
    """

    def __init__(self, reason: ImageReason, detail: str) -> None:
        self.reason: ImageReason = reason
        self.detail = detail
        super().__init__(detail)


class BundleError(ClearsightError):
    """A Bundle cannot be trusted or opened."""


class StorageError(ClearsightError):
    """Disk full, permission denied, or another I/O failure."""


class ServiceError(ClearsightError):
    """The service cannot start."""


class InterruptedRun(ClearsightError):  # noqa: N818 - an event, not a fault
    """Stopped by Ctrl-C or SIGTERM at a point from which it can be resumed."""


class GateError(ClearsightError):
    """A gate or check was not met; nothing was written in its name."""

    exit_code = 3


def nearest(got: str, allowed: Iterable[str]) -> str:
    """Return a hint naming the closest allowed words, then all of them.

    Args:
        got: the word that was typed.
        allowed: every word that would have been accepted.

    Returns:
        A sentence with a leading space; empty when `allowed` is empty.

    Example:
        >>> nearest("compcat", ["compact", "probe"])
        " Did you mean 'compact'? Allowed: compact, probe."
    """
    words = sorted(allowed)
    if not words:
        return ""
    close = difflib.get_close_matches(got, words, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(word) for word in close)}?" if close else ""
    return f"{hint} Allowed: {', '.join(words)}."
