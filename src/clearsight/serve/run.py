"""`clearsight serve`: open models, listen, answer until told to stop."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from clearsight.core.progress import Progress, Silent
from clearsight.engines.compiled import cache_folder, remember_compiled
from clearsight.serve.access.tls import Tls
from clearsight.serve.app import Asgi, build_app
from clearsight.serve.catalogue import Catalogue, Folders, Together
from clearsight.serve.grpc_server import grpc_port, require_grpc, start_grpc
from clearsight.serve.http_messages import Route
from clearsight.serve.http_server import HttpServer, Stop
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.listening import listen, shown
from clearsight.serve.log import set_level
from clearsight.serve.operations.routes import Operations
from clearsight.serve.operations.tracing import tracer_of
from clearsight.serve.service import Service
from clearsight.serve.state import State, find_state, needs_keys


@dataclass(frozen=True, slots=True)
class Door:
    """Where a service listens.

    Args:
        host: address to listen on; anything but loopback opens the service to others.
        port: TCP port for HTTP; 0 picks a free one.
        grpc_port: TCP port for gRPC; 0 picks a free one, None opens none.
        tls: certificate and key; None serves without encryption.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """What a started service says of itself.

    Args:
        url: where its page and its HTTP protocols are.
        grpc: "host:port" of gRPC; None without.
        models: names of what is served.
        keys: a key is needed.
    """

    url: str
    grpc: str | None
    models: list[str]
    keys: bool


def serve(
    models: Sequence[Path],
    door: Door | None = None,
    limits: ServiceLimits | None = None,
    engine: str | None = None,
    store: Path | None = None,
    progress: Progress | None = None,
    on_ready: Callable[[Serving], None] | None = None,
    log_level: str | None = None,
) -> None:
    """Serve models until SIGTERM or SIGINT, then finish what is in flight and return.

    Args:
        models: RUN or Bundle folders; each is served under its folder's name. Beside them, or
            alone, what the store's registry holds is served.
        door: where it listens.
        limits: workers, queue, deadline, memory and sizes; see `ServiceLimits`.
        engine: key of an engine; the fastest, measured, where None.
        store: state folder with keys, registry and feedback; see `store.place.store_folder`.
        progress: told `serving` with the URL when requests are taken.
        on_ready: called when requests are taken.
        log_level: "info" writes a line a request; CLEARSIGHT_LOG, else "warning" where None.

    Raises:
        StartError: a port is taken or not allowed, or the models cannot be served together.
        MissingExtraError: gRPC is asked for and not installed.
        BundleError: a Bundle cannot be trusted or opened.
    """
    progress, door = progress or Silent(), door or Door()
    set_level(log_level)
    tracer = tracer_of(os.environ)
    tls = door.tls.context() if door.tls else None
    if door.grpc_port is not None:
        require_grpc()
        grpc_port(door.host, door.grpc_port)
    with listen(door.host, door.port) as listener, ExitStack() as ends:
        state = find_state(store)
        if state is not None:
            ends.callback(state.close)
        service = open_service(models, limits, engine, state)
        ends.callback(service.close)
        operations = Operations(service, state.folder if state else None, tracer)
        ends.callback(operations.close)
        app = build_app(service, operations=operations, more=_registry_routes(state, service))
        _run(service, app, door, tls, listener, progress, on_ready)


def _run(
    service: Service,
    app: Asgi,
    door: Door,
    tls: ssl.SSLContext | None,
    listener: socket.socket,
    progress: Progress,
    on_ready: Callable[[Serving], None] | None,
) -> None:
    scheme = "https" if tls else "http"
    url = f"{scheme}://{shown(door.host)}:{listener.getsockname()[1]}"
    grpc_address: list[str] = []

    async def grpc() -> Stop:
        server = await start_grpc(service, door.host, door.grpc_port or 0, door.tls)
        grpc_address.append(f"{shown(door.host)}:{server.port}")
        return server.stop

    def ready() -> None:
        names = service.models.names()
        address = grpc_address[0] if grpc_address else None
        progress.say("serving", url=url, grpc=address, models=names)
        if on_ready is not None:
            on_ready(Serving(url, address, names, needs_keys(service.access)))

    beside = None if door.grpc_port is None else grpc
    HttpServer(app, service, ready, tls, beside).run(sockets=[listener])
    progress.say("stopped", url=url)


def _registry_routes(state: State | None, service: Service) -> list[Route]:
    if state is None:
        return []
    from clearsight.serve.registry.routes import RegistryRoutes

    return RegistryRoutes(state.registry, service.models.refresh).routes()


def open_service(
    models: Sequence[Path],
    limits: ServiceLimits | None = None,
    engine: str | None = None,
    state: State | None = None,
) -> Service:
    """Open and warm models and return the Service that answers for them.

    Raises:
        StartError: two models of one name, or none.
        BundleError: a Bundle cannot be trusted or opened, or its golden pictures get other scores
            here than in training.
    """
    remember_compiled(cache_folder())
    catalogues: list[Catalogue] = [Folders(models)] if models else []
    if state is not None:
        catalogues.append(state.registry)
    access = state.access if state else None
    return Service(Together(catalogues), limits, access, engine)
