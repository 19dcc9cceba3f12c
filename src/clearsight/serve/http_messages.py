"""HTTP requests and responses over bare ASGI: bounded bodies in, problem+json out."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from clearsight.core.errors import nearest
from clearsight.serve.access.caller import NOBODY, ROUTE_SCOPES, Caller, RouteScope
from clearsight.serve.access.tokens import presented
from clearsight.serve.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    ClientLeftError,
    MalformedRequestError,
    OverloadedError,
)
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.status import Status, detail_of, retry_after_s, status_of

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

JSON = "application/json"
PROBLEM = "application/problem+json"
PROBLEM_BASE = "urn:clearsight:problem:"
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
UNAUTHORIZED = 401
SWALLOW_S = 1.0  # how long a refused body is read and dropped, so that the refusal can be read


_compact_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_process = secrets.token_hex(10)
_count = itertools.count()


def new_id() -> str:
    """Return an id that no other request has; not a secret.

    It asks the system for randomness once a process: that call lets go of Python's lock, and the
    event loop would wait for it again behind every worker.
    """
    return f"{_process}{next(_count):012x}"


class Buffers:
    """Counts the body bytes that all requests together hold at the moment.

    Args:
        limit: most bytes at the same time.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0


class Request:
    """One HTTP request.

    Args:
        scope, receive: from the ASGI server.
        limits: bounds of its body.
        buffers: shared by all requests of the application.

    Attributes:
        id: the client's X-Request-Id where it is a plain word, else a new one.
        address: where it comes from.
        path_values: what stands in the address where its route has "{name}".
        caller: whose key it carries; set before a handler sees the request.
    """

    __slots__ = (
        "_buffers",
        "_held",
        "_receive",
        "address",
        "caller",
        "finished",
        "headers",
        "id",
        "limits",
        "method",
        "path",
        "path_values",
        "query",
    )

    def __init__(
        self, scope: Scope, receive: Receive, limits: ServiceLimits, buffers: Buffers
    ) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.address: str = (scope.get("client") or ("",))[0]
        self.path_values: dict[str, str] = {}
        self.caller: Caller = NOBODY
        self.limits = limits
        self.finished = False
        self._receive = receive
        self._buffers, self._held = buffers, 0
        asked = self.headers.get(b"x-request-id", b"").decode("latin-1")
        self.id = asked if REQUEST_ID.fullmatch(asked) else new_id()

    def header(self, name: bytes) -> str:
        """Return a header's value, empty where it is absent."""
        return self.headers.get(name, b"").decode("latin-1")

    def token(self) -> str | None:
        """Return the key it carries, None without one."""
        return presented(self.header(b"authorization"), self.header(b"x-api-key"))

    def options(self, *allowed: str) -> dict[str, str]:
        """Return the query's options.

        Raises:
            MalformedRequestError: an unknown or repeated option, or bytes that are no text.
        """
        if not self.query:
            return {}
        try:
            pairs = parse_qsl(
                self.query.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=20,
            )
        except ValueError as error:
            raise MalformedRequestError("The query after '?' is not valid text.") from error
        options: dict[str, str] = {}
        for name, value in pairs:
            if name not in allowed:
                hint = nearest(name[:80], allowed) or " This address takes none."
                raise MalformedRequestError(f"Unknown query option {name[:80]!r}.{hint}")
            if name in options:
                raise MalformedRequestError(
                    f"The query option {name!r} is given twice. Give it once."
                )
            options[name] = value
        return options

    async def body(self) -> bytes:
        """Read the whole body within its bounds.

        Raises:
            BodyTooLargeError: announced or found larger than the limit; the rest is not kept.
            BodyTooSlowError: not complete in time.
            ClientLeftError: the connection closed before the end.
            OverloadedError: all requests together would hold too much.
        """
        chunks = [chunk async for chunk in self.chunks()]
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def chunks(self) -> Any:
        """Yield the body as it arrives, within the same bounds as `body`."""
        limit, read = self.limits.body_bytes, 0
        ends = time.monotonic() + self.limits.body_s
        announced = self.header(b"content-length")
        too_large = announced.isdigit() and int(announced) > limit
        while not self.finished:
            chunk = b"" if too_large else await self._next(ends)
            read += len(chunk)
            if too_large or read > limit:
                raise BodyTooLargeError(
                    f"The body is larger than {limit:,} bytes. Send a smaller one."
                )
            self._hold(len(chunk))
            if chunk:
                yield chunk

    def release(self) -> None:
        """Give back what the body took of the shared buffers; call when the answer is sent."""
        self._buffers.held -= self._held
        self._held = 0

    def _hold(self, count: int) -> None:
        if self._buffers.held + count > self._buffers.limit:
            raise OverloadedError("Too many large requests at once. Try again later.", 1.0)
        self._buffers.held += count
        self._held += count

    async def left(self) -> None:
        """Return when the client has closed the connection; call after the body is read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def swallow(self) -> None:
        """Drop what is left of the body for a moment, so that a refused client reads the answer."""
        if self.method in ("GET", "HEAD") or self.header(b"expect"):
            return
        ends = time.monotonic() + SWALLOW_S
        try:
            while not self.finished:
                await self._next(ends)
        except (BodyTooSlowError, ClientLeftError):
            return

    async def _next(self, ends: float) -> bytes:
        try:
            async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                event = await self._receive()
        except TimeoutError as error:
            raise BodyTooSlowError(
                f"The body did not arrive within {self.limits.body_s:g} s."
            ) from error
        if event["type"] == "http.disconnect":
            raise ClientLeftError("The connection closed before the body's end.")
        self.finished = not event.get("more_body", False)
        chunk: bytes = event.get("body", b"")
        return chunk


@dataclass(slots=True)
class Response:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(self, request: Request, send: Send, close: bool) -> None:
        """Send it; HEAD gets the same headers and no body; `close` ends the connection after."""
        headers = [
            (b"content-type", self.content_type.encode("ascii")),
            (b"content-length", str(len(self.body)).encode("ascii")),
            (b"x-request-id", request.id.encode("ascii")),
            (b"x-content-type-options", b"nosniff"),
            *self.headers,
        ]
        if close or not (request.finished or request.method in ("GET", "HEAD")):
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        body = b"" if request.method == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})


Handler = Callable[[Request], Awaitable[Response]]


def json_response(value: Any, status: int = 200, content_type: str = JSON) -> Response:
    """Return a JSON answer, text of any script as it is."""
    return Response(status, _compact_json(value).encode("utf-8"), content_type)


def problem(request_id: str, error: BaseException) -> dict[str, Any]:
    """Return the RFC 9457 members of an error; it names no internals."""
    return plain_problem(request_id, status_of(error), detail_of(error))


def plain_problem(request_id: str, status: Status, detail: str) -> dict[str, Any]:
    """Return the RFC 9457 members of a status of the table."""
    return {
        "type": PROBLEM_BASE + status.slug,
        "title": status.title,
        "status": status.http,
        "detail": detail,
        "id": request_id,
    }


def problem_response(request_id: str, error: BaseException) -> Response:
    """Return the problem+json answer of an error, with Retry-After where it is known."""
    response = json_response(problem(request_id, error), status_of(error).http, PROBLEM)
    seconds = retry_after_s(error)
    if seconds is not None:
        response.headers.append((b"retry-after", str(max(1, math.ceil(seconds))).encode("ascii")))
    if response.status == UNAUTHORIZED:
        response.headers.append((b"www-authenticate", b"Bearer"))
    return response


@dataclass(frozen=True, slots=True)
class Route:
    """One address of the service.

    Args:
        method: "GET", which answers HEAD too, or "POST", "DELETE".
        path: the address; a part such as "{model}" stands for any text without a slash.
        handler: answers it.
        scope: what a caller needs; "public" for nothing.
        refuse: makes the answer of an error, from the request's id and the error.

    Raises:
        ValueError: a scope that no key can have.
    """

    method: str
    path: str
    handler: Handler
    scope: RouteScope
    refuse: Callable[[str, BaseException], Response] = problem_response

    def __post_init__(self) -> None:
        if self.scope not in ROUTE_SCOPES:
            raise ValueError(f"{self.path}: no scope {self.scope!r}; {', '.join(ROUTE_SCOPES)}.")
