"""gRPC calls as plain data, so that a protocol needs no gRPC library to answer them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import get_args

from clearsight.core.errors import ClearsightError
from clearsight.serve.access.caller import Caller, RouteScope


@dataclass(frozen=True, slots=True)
class GrpcRequest:
    """One call of a method.

    Args:
        id: the client's `x-request-id` where it is a plain word, else a new one.
        caller: who asks.
        message: the request's message, serialized.
        deadline_s: seconds that the client goes on waiting; None where it said nothing.
    """

    id: str
    caller: Caller
    message: bytes
    deadline_s: float | None


GrpcHandler = Callable[[GrpcRequest], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a gRPC protocol.

    Args:
        path: "/package.Service/Method".
        handler: gives the answer's message, serialized; raises what `errors.py` knows.
        scope: what the caller's key must be allowed to do; "public" asks for no key.

    Raises:
        ClearsightError: the scope is none of those there are.
    """

    path: str
    handler: GrpcHandler
    scope: RouteScope

    def __post_init__(self) -> None:
        if self.scope not in get_args(RouteScope):
            raise ClearsightError(f"{self.path} has the scope {self.scope!r}, which is none.")
