"""Connections that carry one request at a time, as cheaply as Python allows."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from clearsight.client.errors import UnreachableError
from clearsight.client.load.requests import GRPC_METHOD, grpc_version
from clearsight.core.errors import MissingExtraError

REFUSED = frozenset({"429", "503", "RESOURCE_EXHAUSTED", "UNAVAILABLE"})
ANSWER_BYTES = 8 * 1024 * 1024
CONNECT_S = 10.0
GRPC_CHANNELS = 16
GRPC_BYTES = 64 * 1024 * 1024
_VERSION = re.compile(rb'"(?:model_)?version"\s*:\s*"([^"\\]{0,200})"')


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one request.

    Args:
        status: HTTP status or gRPC code as text; "200" and "OK" are good.
        retry_after: the refusal says when to come back.
        versions: every model version that the answer names.
    """

    status: str
    retry_after: bool = False
    versions: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether it is an answer."""
        return self.status == "OK" or (len(self.status) == 3 and self.status[0] == "2")

    @property
    def refused(self) -> bool:
        """Whether the service said "not now"."""
        return self.status in REFUSED


class Line(Protocol):
    """One connection."""

    @property
    def closing(self) -> bool:
        """Whether it cannot carry another request."""

    async def ask(self, number: int) -> Reply:
        """Send request `number` (of the prepared ones, modulo their count) and await its answer.

        Raises:
            UnreachableError: no answer will come.
        """

    def close(self) -> None:
        """Give the connection up."""


Connect = Callable[[], Awaitable[Line]]


class HttpLine(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        import httptools

        self._requests = requests
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self._answer: asyncio.Future[Reply] | None = None
        self._body = bytearray()
        self._retry_after = False

    async def ask(self, number: int) -> Reply:
        """Send a request and await its answer; see `Line`."""
        if self._transport is None or self._transport.is_closing():
            raise UnreachableError("the service closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self._requests[number % len(self._requests)])
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def closing(self) -> bool:
        """Whether it cannot carry another request."""
        return self._transport is None or bool(self._transport.is_closing())

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._fail("the connection broke")

    def data_received(self, data: bytes) -> None:
        """Read the answer."""
        try:
            self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - httptools has several; all mean the same
            self._fail(f"no HTTP answer: {type(error).__name__}")
            self.close()

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._body.clear()
        self._retry_after = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look for Retry-After."""
        if name.lower() == b"retry-after":
            self._retry_after = True

    def on_body(self, body: bytes) -> None:
        """Keep the body, within bounds."""
        self._body += body
        if len(self._body) > ANSWER_BYTES:
            self._fail("the answer is too long")
            self.close()

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        status = self._parser.get_status_code()
        if status == 100:
            return
        found = _VERSION.findall(self._body) if status < 300 else ()
        versions = tuple({item.decode("utf-8", "replace") for item in found})
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(str(status), self._retry_after, versions))

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(UnreachableError(why))


def http_connect(url: str, requests: Sequence[bytes], context: ssl.SSLContext | None) -> Connect:
    """Return what opens a connection to a service.

    Args:
        url: of the service.
        requests: ready to be written.
        context: for https.
    """
    parts = urlsplit(url)
    tls, host = parts.scheme == "https", parts.hostname or ""
    port = parts.port or (443 if tls else 80)

    async def connect() -> HttpLine:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, line = await loop.create_connection(
                    lambda: HttpLine(requests), host, port, ssl=context if tls else None
                )
        except TimeoutError as error:
            raise UnreachableError("no connection in time") from error
        except OSError as error:
            raise UnreachableError(
                f"no connection: {error.strerror or type(error).__name__}"
            ) from error
        return line

    return connect


class GrpcLine:
    """A place on a shared gRPC channel, which carries many requests at once."""

    closing = False

    def __init__(self, call: Any, messages: Sequence[bytes], metadata: Any) -> None:
        self._call, self._messages, self._metadata = call, messages, metadata

    async def ask(self, number: int) -> Reply:
        """Send a message and await its answer; see `Line`."""
        import grpc

        message = self._messages[number % len(self._messages)]
        call = self._call(message, metadata=self._metadata)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), (error.details() or "").lower()
            if code is grpc.StatusCode.UNAVAILABLE and "connect" in details:
                raise UnreachableError("no connection") from error
            names = {str(name).lower() for name, _ in error.trailing_metadata() or ()}
            hint = bool(names & {"retry-after", "grpc-retry-pushback-ms"})
            return Reply(code.name, hint)
        version = grpc_version(answer)
        return Reply("OK", False, (version,) if version else ())

    def close(self) -> None:
        """The channel stays: others use it."""


def grpc_connect(
    url: str,
    messages: Sequence[bytes],
    metadata: dict[str, str],
    ca: bytes | None,
    closers: list[Callable[[], Any]],
) -> Connect:
    """Return what gives places on gRPC channels; see `http_connect`.

    Args:
        url: http (no TLS) or https and the gRPC port.
        messages: encoded requests.
        metadata: sent with each.
        ca: PEM certificates to trust in place of the system's.
        closers: gets what closes the channels.
    """
    try:
        import grpc
    except ModuleNotFoundError as error:
        raise MissingExtraError("grpcio", "grpc", "Measuring over gRPC") from error
    parts = urlsplit(url)
    address = f"{parts.hostname}:{parts.port}"
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", GRPC_BYTES),
        ("grpc.max_receive_message_length", GRPC_BYTES),
    ]
    calls: list[Any] = []
    given = 0

    async def connect() -> GrpcLine:
        nonlocal given
        if len(calls) < GRPC_CHANNELS:
            if parts.scheme == "https":
                credentials = grpc.ssl_channel_credentials(ca)
                channel = grpc.aio.secure_channel(address, credentials, options=options)
            else:
                channel = grpc.aio.insecure_channel(address, options=options)
            closers.append(channel.close)
            calls.append(channel.unary_unary(GRPC_METHOD))  # bytes in, bytes out
        given += 1
        return GrpcLine(calls[given % len(calls)], messages, tuple(metadata.items()) or None)

    return connect
