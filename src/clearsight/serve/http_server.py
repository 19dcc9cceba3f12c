"""uvicorn with the bounds it lacks: time and size of a request's head, time of an idle connection,
and a stop that says "not ready" before it closes the door.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import socket
import ssl
import threading
import uuid
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from clearsight.serve.http_messages import PROBLEM, plain_problem
from clearsight.serve.joined_writes import JoinedWrites
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.service import Service
from clearsight.serve.status import Status

HEAD_BYTES = 64 * 1024
MALFORMED = Status(400, "malformed-http", "Bad Request")
TOO_SLOW = Status(408, "head-too-slow", "Request Timeout")
TOO_LARGE = Status(431, "head-too-large", "Request Header Fields Too Large")
LAST_REQUEST_S = 0.2  # an open connection without a request is kept so long when stopping
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Stop = Callable[[float], Awaitable[Any]]


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a bound on the head's size and on the time it takes."""

    limits: ServiceLimits
    _head_bytes = 0
    _in_head = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock of the first head."""
        super().connection_made(cast("asyncio.Transport", JoinedWrites(transport, self.loop)))
        self._timer = self.loop.call_later(self.limits.header_s, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to an unfinished head."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._timer is None:
                self._timer = self.loop.call_later(self.limits.header_s, self._late)
        super().data_received(data)
        # what came with the head's end may be body: only an unfinished head counts
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(TOO_LARGE, f"A request head has at most {HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete: stop the clock."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next byte belongs to another head."""
        super().on_message_complete()
        self._in_head = True

    def shutdown(self) -> None:
        """Close, but not under a request that is on its way over an open connection."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle:
            self.loop.call_later(LAST_REQUEST_S, super().shutdown)
        else:
            super().shutdown()

    def _late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(
                TOO_SLOW, f"The request head did not arrive within {self.limits.header_s:g} s."
            )

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(MALFORMED, "The bytes are not an HTTP request.")

    def _refuse(self, status: Status, detail: str) -> None:
        """Answer what never became a request, and close."""
        body = json.dumps(plain_problem(uuid.uuid4().hex, status, detail)).encode("ascii")
        head = (
            f"HTTP/1.1 {status.http} {status.title}\r\ncontent-type: {PROBLEM}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HttpServer(uvicorn.Server):
    """Runs one ASGI application until a stop is asked for.

    Args:
        app: from `app.build_app`.
        service: its service; told to be not ready as soon as a stop is asked for.
        on_ready: called once when requests are taken.
        tls: encrypts every connection; None for plain HTTP.
        beside: starts what listens beside HTTP, on the same event loop; returns how to stop it,
            given the seconds it may take.
    """

    def __init__(
        self,
        app: Any,
        service: Service,
        on_ready: Callable[[], None],
        tls: ssl.SSLContext | None = None,
        beside: Callable[[], Awaitable[Stop]] | None = None,
    ) -> None:
        limits = service.limits
        super().__init__(
            uvicorn.Config(
                app,
                http=type("Http", (BoundedHttp,), {"limits": limits}),
                ws="none",
                loop="auto",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=max(1, int(limits.idle_s)),
                timeout_graceful_shutdown=max(1, int(limits.drain_s)),
            )
        )
        self.service, self._on_ready, self._tls = service, on_ready, tls
        self._beside = beside
        self._stop_beside: Stop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        self.config.ssl = self._tls
        if self._tls is not None:  # uvicorn passes no such bound on; asyncio's own is a minute
            loop: Any = asyncio.get_running_loop()
            bound_s = self.service.limits.header_s
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=bound_s)
        await super().startup(sockets)
        if self._beside is not None:
            self._stop_beside = await self._beside()
        gc.freeze()  # what is loaded stays: no collection walks over it again
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is in flight, over HTTP and beside it."""
        seconds = self.service.limits.drain_s
        beside = asyncio.ensure_future(self._stop_beside(seconds)) if self._stop_beside else None
        await super().shutdown(sockets)
        if beside is not None:
            await beside

    def stop(self) -> None:
        """Ask for a graceful stop from the event loop; a second call ends at once."""
        if not self.service.ready:
            self.should_exit = self.force_exit = True
            return
        self.service.ready = False
        asyncio.get_running_loop().call_later(self.service.limits.linger_s, self._close_door)

    def _close_door(self) -> None:
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Turn SIGINT and SIGTERM into `stop`; a stop that was asked for is a success."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
