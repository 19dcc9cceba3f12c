"""An answer's head and body in one packet."""

from __future__ import annotations

import asyncio
from typing import Any


class JoinedWrites:
    """A transport that sends an answer's head together with its body.

    Written apart they wake the client twice, and on a busy machine each time before the worker
    that waits for this thread.

    Args:
        transport: of one connection; everything but writing and closing goes straight to it.
        loop: its event loop.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held = b""
        self._later: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        """Send what is held and this; hold it for the rest of this turn where nothing is held."""
        if self._later is None:
            self._held, self._later = data, self._loop.call_soon(self._flush)
        else:
            self._held += data
            self._flush()

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
            self._transport.write(self._held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
