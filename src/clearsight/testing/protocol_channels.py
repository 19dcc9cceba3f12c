"""How a contract talks to a protocol: bare ASGI for HTTP, a real connection for gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from clearsight.serve.app import app_of
from clearsight.serve.http_messages import Scope
from clearsight.serve.protocols import Answer, Exchange
from clearsight.serve.service import Service
from clearsight.serve.status import Status

PATIENCE_S = 5.0
NOTHING = Answer("", {}, b"")
"""What a client has that left before there was an answer."""
CLIENT_LEFT = 499
OF_THE_CLIENT = {
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "CANCELLED",
}
"""gRPC codes that say that the request was wrong, or too much."""


class Channel(Protocol):
    """One way to talk to a mounted protocol."""

    async def ask(
        self, exchange: Exchange, leave: asyncio.Event | None = None, announced: bool = True
    ) -> Answer:
        """Send one request; the client leaves when `leave` is set.

        Args:
            exchange: what to send.
            leave: set it and the client goes away.
            announced: the length of the body is told before it.
        """

    def code(self, status: Status) -> str:
        """Return what an `Answer.code` is for a row of the table of errors."""

    def succeeded(self, answer: Answer) -> bool:
        """Say whether the request was answered."""

    def refused(self, answer: Answer) -> bool:
        """Say whether the client was told that its request is wrong, or too much."""


class HttpChannel:
    """Talks ASGI to an HTTP protocol; nothing listens on a port."""

    def __init__(self, protocol: Any, service: Service) -> None:
        self._app = app_of(service, protocol(service).routes())

    async def ask(
        self, exchange: Exchange, leave: asyncio.Event | None = None, announced: bool = True
    ) -> Answer:
        """Send one request in two pieces; see `Channel`."""
        middle = len(exchange.body) // 2
        pieces = [(exchange.body[middle:], False), (exchange.body[:middle], True)]
        never, sent = leave or asyncio.Event(), dict[str, Any]()

        async def receive() -> dict[str, Any]:
            if pieces:
                body, more = pieces.pop()
                return {"type": "http.request", "body": body, "more_body": more}
            await never.wait()
            return {"type": "http.disconnect"}

        async def send(event: Any) -> None:
            sent.update(event)

        await asyncio.wait_for(self._app(_scope(exchange, announced), receive, send), PATIENCE_S)
        if not sent:
            return NOTHING
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in sent["headers"]}
        return Answer(str(sent["status"]), headers, sent.get("body", b""))

    def code(self, status: Status) -> str:
        """Return the HTTP status; nothing for a client that left."""
        return "" if status.http == CLIENT_LEFT else str(status.http)

    def succeeded(self, answer: Answer) -> bool:
        """Say whether it is a 200."""
        return answer.code == "200"

    def refused(self, answer: Answer) -> bool:
        """Say whether it is a 4xx."""
        return answer.code.startswith("4")


class GrpcChannel:
    """Talks to a gRPC protocol over a connection of the loopback."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def ask(
        self, exchange: Exchange, leave: asyncio.Event | None = None, announced: bool = True
    ) -> Answer:
        """Send one message; a message's length is always announced; see `Channel`."""
        import grpc

        method = self._channel.unary_unary(exchange.target)
        call = method(exchange.body, metadata=exchange.headers, timeout=PATIENCE_S)
        leaving = asyncio.ensure_future(_leave(call, leave)) if leave else None
        try:
            body = await call
            return Answer("OK", _plain(await call.trailing_metadata()), body)
        except grpc.aio.AioRpcError as error:
            headers = _plain(error.trailing_metadata())
            return Answer(error.code().name, headers, (error.details() or "").encode("utf-8"))
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            return NOTHING
        finally:
            if leaving is not None:
                leaving.cancel()

    def code(self, status: Status) -> str:
        """Return the name of the gRPC code."""
        return status.grpc

    def succeeded(self, answer: Answer) -> bool:
        """Say whether the code is OK."""
        return answer.code == "OK"

    def refused(self, answer: Answer) -> bool:
        """Say whether the code blames the client."""
        return answer.code in OF_THE_CLIENT


@asynccontextmanager
async def channel_to(protocol: Any, service: Service) -> AsyncIterator[Channel]:
    """Mount a protocol on a service and yield how to talk to it."""
    if not hasattr(protocol, "methods"):
        yield HttpChannel(protocol, service)
        return
    import grpc

    from clearsight.serve.grpc_calls import GrpcServer

    server = GrpcServer(service, "127.0.0.1", 0, protocols=[protocol(service)])
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield GrpcChannel(channel)
    finally:
        await server.stop(0)


def _scope(exchange: Exchange, announced: bool) -> Scope:
    path, _, query = exchange.target.partition("?")
    headers = list(exchange.headers)
    if announced:
        headers.append(("content-length", str(len(exchange.body))))
    if exchange.content_type:
        headers.append(("content-type", exchange.content_type))
    return {
        "type": "http",
        "method": exchange.method,
        "path": path,
        "query_string": query.encode("ascii"),
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers],
        "client": ("127.0.0.1", 4242),
    }


async def _leave(call: Any, leave: asyncio.Event) -> None:
    await leave.wait()
    call.cancel()


def _plain(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}
