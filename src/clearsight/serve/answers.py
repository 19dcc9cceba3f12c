"""Waiting for answers from an event loop: until they are there, are late, or nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future
from typing import Any

from clearsight.core.nouns import Prediction
from clearsight.serve.calls import Ticket
from clearsight.serve.errors import ClientLeftError, ExpiredError

Outcome = Prediction | BaseException


async def answers(ticket: Ticket, left: Awaitable[Any]) -> list[Outcome]:
    """Return what became of every picture of an admitted call.

    Args:
        ticket: from `Service.submit`.
        left: ends when the client has left; is cancelled when the answers are there.

    Returns:
        A Prediction or an error a picture, in order.

    Raises:
        ClientLeftError: the client left; what still waited was given up.
        ExpiredError: not all were there in time; what still waited was given up.
    """
    gone = asyncio.ensure_future(left)
    done = _Countdown(ticket.futures)
    gone.add_done_callback(lambda _: done.stop())
    try:
        in_time = await done.wait(ticket.deadline_s)
        if gone.done() and not gone.cancelled():
            raise ClientLeftError("The client closed the connection before the answer.")
        if not in_time:
            raise ExpiredError("The deadline passed before there was an answer. Try later.")
        return [future.exception() or future.result() for future in ticket.futures]
    finally:
        gone.cancel()
        for future in ticket.futures:
            future.cancel()  # nothing where it is done


class _Countdown:
    """Wakes an event loop once, when the last of several futures of other threads has ended."""

    def __init__(self, futures: Sequence[Future[Prediction]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._all: asyncio.Future[bool] = self._loop.create_future()
        self._left = len(futures)
        for future in futures:
            future.add_done_callback(self._one)

    async def wait(self, seconds: float) -> bool:
        """Return whether all ended within `seconds`; False too after `stop`."""
        timer = self._loop.call_later(seconds, self.stop)
        try:
            return await self._all
        finally:
            timer.cancel()

    def stop(self) -> None:
        """Wait no longer."""
        if not self._all.done():
            self._all.set_result(False)

    def _one(self, _: Future[Prediction]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._count)
        except RuntimeError:
            return  # the loop has ended, and nobody waits in it

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0 and not self._all.done():
            self._all.set_result(True)
