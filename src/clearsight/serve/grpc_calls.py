"""gRPC calls on the service's event loop: keys, bounds, deadlines and errors for every protocol.

A call's one message is read with a time limit, as its scope has been checked, so what a stranger
or a slow client sends takes no memory for long. Importing this needs the gRPC libraries.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from clearsight.core.errors import ClearsightError, ImageError
from clearsight.serve import log
from clearsight.serve.access.caller import NOBODY
from clearsight.serve.access.tls import Tls
from clearsight.serve.access.tokens import presented
from clearsight.serve.errors import (
    BodyTooSlowError,
    MalformedRequestError,
    OverloadedError,
    StartError,
)
from clearsight.serve.grpc_messages import GrpcRequest, Method
from clearsight.serve.http_messages import REQUEST_ID, Buffers, new_id
from clearsight.serve.operations.requests import Answered
from clearsight.serve.protocols import PROTOCOLS, GrpcProtocol, grpc_protocols
from clearsight.serve.service import Service
from clearsight.serve.status import detail_of, retry_after_s, status_of

MOST_CALLS = 10_000
MOST_WATCHERS = 100
MOST_STREAMS = 256  # calls at the same time over one connection
METADATA_BYTES = 16 * 1024
DETAIL_LENGTH = 1000  # clients take about 8 KB of metadata, and the detail is part of that
WATCH_S = 0.05
REFLECTION_S = 10.0
OK, CLIENT_LEFT = 200, 499

Context = Any


class GrpcServer:
    """A gRPC port that answers every gRPC protocol, health and reflection.

    Args:
        service: what answers.
        host, port: where to listen.
        tls: certificate and key; None serves without.
        protocols: what answers; every gRPC protocol of the registry where None.

    Raises:
        StartError: the port is taken, or the certificate cannot be used.

    Attributes:
        port: the TCP port.
    """

    def __init__(
        self,
        service: Service,
        host: str,
        port: int,
        tls: Tls | None = None,
        protocols: Sequence[GrpcProtocol] | None = None,
    ) -> None:
        limits = service.limits
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limits.body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", METADATA_BYTES),
                ("grpc.max_concurrent_streams", MOST_STREAMS),
                ("grpc.max_connection_idle_ms", int(limits.idle_s * 1000)),
                ("grpc.server_handshake_timeout_ms", int(limits.header_s * 1000)),
                ("grpc.so_reuseport", 0),
            ]
        )
        calls, names, pool = Calls(service), [], descriptor_pool.DescriptorPool()
        if protocols is None:
            protocols = [PROTOCOLS.load(key)(service) for key in grpc_protocols()]
        for protocol in protocols:
            names.append(protocol.service_name)
            pool.Add(protocol.file)
            self._server.add_generic_rpc_handlers([calls.handlers(protocol.methods())])
        _add_health(self._server, Health(service, names), pool)
        _add_reflection(self._server, names, pool)
        self.port = self._bind(f"[{host}]" if ":" in host else host, port, tls)

    async def start(self) -> None:
        """Take calls from now on."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; return when those in flight have ended, after `grace_s` by force."""
        await self._server.stop(grace_s)

    def _bind(self, host: str, port: int, tls: Tls | None) -> int:
        try:
            if tls is None:
                bound: int = self._server.add_insecure_port(f"{host}:{port}")
            else:
                credentials = grpc.ssl_server_credentials([tls.pem()])
                bound = self._server.add_secure_port(f"{host}:{port}", credentials)
        except RuntimeError as error:
            raise StartError(
                f"Cannot listen on {host}:{port}. Try --grpc-port 0, which takes any free one."
            ) from error
        return bound


class Calls:
    """Answers calls of methods: who asks, may it, its message, its answer or its error.

    Args:
        service: what answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffers = Buffers(service.limits.buffered_bytes)
        self._in_flight = 0

    def handlers(self, methods: list[Method]) -> grpc.GenericRpcHandler:
        """Return what gRPC asks for the handler of a call."""
        return _Handlers({method.path: self._handler(method) for method in methods})

    def _handler(self, method: Method) -> grpc.RpcMethodHandler:
        async def handler(_: Any, context: Context) -> bytes:
            return await self._call(method, context)

        # on the wire a call of one message; read as a stream, it can be read with a time limit
        return grpc.stream_unary_rpc_method_handler(handler)

    async def _call(self, method: Method, context: Context) -> bytes:
        began, started = time.time(), time.monotonic()
        metrics, requests = self._service.metrics, self._service.requests
        told = {item.key: item.value for item in context.invocation_metadata() or ()}
        call = _Call(method, context, told)
        metrics.in_flight.inc()
        self._in_flight += 1
        status = CLIENT_LEFT
        failure: Exception
        try:
            reply = await self._answer(call)
            status = OK
            context.set_trailing_metadata((("x-request-id", call.id),))
            return reply
        except (ClearsightError, ImageError) as error:
            status, failure = status_of(error).http, error
        except Exception as error:  # noqa: BLE001 - the client gets a code, the log the cause
            log.failure("request failed", error, request=call.id)
            status, failure = status_of(error).http, error
        finally:
            self._in_flight -= 1
            self._buffers.held -= call.held
            metrics.in_flight.dec()
            seconds = time.monotonic() - started
            metrics.answered(method.path, status, seconds)
            if requests.sinks:
                requests.answered(_answered(call, status, began, seconds))
        metrics.refused(failure)
        await _refuse(context, call.id, failure)
        raise AssertionError("an aborted call goes on")  # pragma: no cover - abort raises

    async def _answer(self, call: _Call) -> bytes:
        access, told = self._service.access, call.metadata
        if call.method.scope != "public":
            token = presented(told.get("authorization", ""), told.get("x-api-key", ""))
            call.caller = access.caller(token, _address(call.context.peer()))
            call.caller.require(call.method.scope)
        if self._in_flight > MOST_CALLS:
            raise OverloadedError("Too many calls at once. Try again later.", 1.0)
        message = await self._message(call)
        deadline_s = call.context.time_remaining()
        return await call.method.handler(GrpcRequest(call.id, call.caller, message, deadline_s))

    async def _message(self, call: _Call) -> bytes:
        limit_s = self._service.limits.body_s
        try:
            async with asyncio.timeout(limit_s):
                message = await call.context.read()
        except TimeoutError as error:
            raise BodyTooSlowError(f"The message did not arrive within {limit_s:g} s.") from error
        if not isinstance(message, bytes):
            raise MalformedRequestError("The call carries no message.")
        if self._buffers.held + len(message) > self._buffers.limit:
            raise OverloadedError("Too many large requests at once. Try again later.", 1.0)
        self._buffers.held += len(message)
        call.held = len(message)
        return message


class _Call:
    """One call while it is answered."""

    __slots__ = ("caller", "context", "held", "id", "metadata", "method")

    def __init__(self, method: Method, context: Context, metadata: dict[str, Any]) -> None:
        self.method, self.context = method, context
        self.metadata = {k: v for k, v in metadata.items() if isinstance(v, str)}
        asked = self.metadata.get("x-request-id", "")
        self.id = asked if REQUEST_ID.fullmatch(asked) else new_id()
        self.caller = NOBODY
        self.held = 0


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a call by its path."""

    def __init__(self, by_path: dict[str, grpc.RpcMethodHandler]) -> None:
        self._by_path = by_path

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler; None where there is no such method."""
        return self._by_path.get(handler_call_details.method)


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """The standard health service: serving while the service is ready.

    Args:
        service: whose readiness is told.
        names: services that may be asked for, beside the empty name for all of them.
    """

    def __init__(self, service: Service, names: list[str]) -> None:
        self._service, self._names = service, {"", *names}
        self._watchers = 0

    async def Check(self, request: Any, context: Context) -> Any:  # noqa: N802 - gRPC's own name
        """Answer once."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "No such service.")
        return self._told(self._service.ready)

    async def Watch(self, request: Any, context: Context) -> None:  # noqa: N802
        """Answer at once and on every change; ends when the service stops."""
        if self._watchers >= MOST_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many watchers.")
        if request.service not in self._names:
            unknown = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            await context.write(health_pb2.HealthCheckResponse(status=unknown))
            return
        self._watchers += 1
        try:
            if self._service.ready:
                await context.write(self._told(True))
            while self._service.ready:
                await asyncio.sleep(WATCH_S)
            await context.write(self._told(False))
        finally:
            self._watchers -= 1

    def _told(self, ready: bool) -> Any:
        states = health_pb2.HealthCheckResponse
        return states(status=states.SERVING if ready else states.NOT_SERVING)


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """The standard reflection service; a conversation lasts `REFLECTION_S` at most."""

    async def ServerReflectionInfo(  # noqa: N802 - gRPC's own name
        self, request_iterator: AsyncIterator[Any], unused_context: Context
    ) -> AsyncIterator[Any]:
        """Answer questions about services and messages."""
        try:
            async with asyncio.timeout(REFLECTION_S):
                async for told in super().ServerReflectionInfo(request_iterator, unused_context):
                    yield told
        except TimeoutError:
            return


def _add_health(server: Any, health: Health, pool: Any) -> None:
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    pool.AddSerializedFile(health_pb2.DESCRIPTOR.serialized_pb)


def _add_reflection(server: Any, names: list[str], pool: Any) -> None:
    pool.AddSerializedFile(reflection_pb2.DESCRIPTOR.serialized_pb)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    servicer = Reflection([*names, health_name, reflection.SERVICE_NAME], pool)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)


async def _refuse(context: Context, request_id: str, error: Exception) -> None:
    """End a call with the code of the one table of errors; raises."""
    metadata = [("x-request-id", request_id)]
    seconds = retry_after_s(error)
    if seconds is not None:
        metadata.append(("retry-after", str(max(1, math.ceil(seconds)))))
        metadata.append(("grpc-retry-pushback-ms", str(math.ceil(seconds * 1000))))
    code = grpc.StatusCode[status_of(error).grpc]
    await context.abort(code, detail_of(error)[:DETAIL_LENGTH], tuple(metadata))


def _address(peer: str) -> str:
    """Return the IP address of a peer as gRPC tells it.

    Example:
        >>> _address("ipv4:127.0.0.1:4242"), _address("ipv6:%5B::1%5D:4242")
        ('127.0.0.1', '::1')
    """
    _, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]")


def _answered(call: _Call, status: int, began: float, seconds: float) -> Answered:
    return Answered(
        call.id,
        "gRPC",
        call.method.path,
        status,
        began,
        seconds,
        call.caller.id,
        call.metadata.get("traceparent", ""),
        call.metadata.get("tracestate", ""),
    )
