"""Opens the gRPC port; importing this needs no gRPC library, calling it does."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from clearsight.core.errors import MissingExtraError
from clearsight.serve.access.tls import Tls
from clearsight.serve.errors import StartError
from clearsight.serve.listening import listen
from clearsight.serve.service import Service

if TYPE_CHECKING:
    from clearsight.serve.grpc_calls import GrpcServer

PACKAGES = {
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
    "google.protobuf": "protobuf",
}


def require_grpc() -> None:
    """Pass when everything that gRPC needs is installed; imports none of it.

    Raises:
        MissingExtraError: something is missing; it says what to install.
    """
    for module, package in PACKAGES.items():
        try:
            found = find_spec(module) is not None
        except ModuleNotFoundError:
            found = False  # not even the package around it is there
        if not found:
            raise MissingExtraError(package, "grpc", "gRPC")


def grpc_port(host: str, port: int) -> int:
    """Return the port for gRPC, before anything slow is loaded: any free one for 0.

    Raises:
        StartError: the port is taken or not allowed; the message names a free one.
    """
    try:
        with listen(host, port) as probe:
            number: int = probe.getsockname()[1]
            return number
    except StartError as error:
        raise StartError(str(error).replace("--port", "--grpc-port")) from error


async def start_grpc(
    service: Service, host: str = "127.0.0.1", port: int = 8001, tls: Tls | None = None
) -> GrpcServer:
    """Open the gRPC port and answer every gRPC protocol on this event loop.

    Args:
        service: what answers.
        host: address to listen on.
        port: TCP port; 0 picks a free one, `GrpcServer.port` says which.
        tls: certificate and key; None serves without.

    Returns:
        A server that takes calls; `await server.stop(grace_s)` ends it.

    Raises:
        MissingExtraError: a gRPC library is not installed.
        StartError: the port is taken or not allowed, or the certificate cannot be used.

    Example:
        >>> server = await start_grpc(service, port=0)  # doctest: +SKIP
        >>> await server.stop(grace_s=5)                # doctest: +SKIP
    """
    require_grpc()
    from clearsight.serve.grpc_calls import GrpcServer

    server = GrpcServer(service, host, grpc_port(host, port), tls)
    await server.start()
    return server
