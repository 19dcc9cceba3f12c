"""`clearsight serve`: open Bundles, listen, answer until told to stop."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from clearsight.core.progress import Progress, Silent
from clearsight.engines.golden import verify_golden
from clearsight.engines.open import open_predictor
from clearsight.engines.session import cores
from clearsight.serve.app import build_app
from clearsight.serve.errors import StartError
from clearsight.serve.http_server import HttpServer
from clearsight.serve.service import Model, Service, ServiceLimits

PORTS_TRIED = 50
BACKLOG = 2048


def serve(
    models: Sequence[Path],
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: ServiceLimits | None = None,
    engine: str | None = None,
    progress: Progress | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve Bundles over HTTP until SIGTERM or SIGINT, then finish what is in flight and return.

    Args:
        models: RUN or Bundle folders; each is served under its folder's name.
        host: address to listen on; anything but loopback opens the service to others.
        port: TCP port; 0 picks a free one.
        limits: workers, queue, deadline and sizes; see `ServiceLimits`.
        engine: key of an engine; the fastest that is installed where None.
        progress: told `serving` with the URL when requests are taken.
        on_ready: called with the URL when requests are taken.

    Raises:
        StartError: the port is taken or not allowed, or the models cannot be served together.
        BundleError: a Bundle cannot be trusted or opened.
    """
    progress = progress or Silent()
    with listen(host, port) as listener:
        service = open_service(models, limits, engine)
        try:
            url = f"http://{_shown(host)}:{listener.getsockname()[1]}"

            def ready() -> None:
                progress.say("serving", url=url, models=list(service.models))
                if on_ready is not None:
                    on_ready(url)

            HttpServer(build_app(service), service, ready).run(sockets=[listener])
            progress.say("stopped", url=url)
        finally:
            service.close()


def open_service(
    models: Sequence[Path], limits: ServiceLimits | None = None, engine: str | None = None
) -> Service:
    """Open and warm Bundles and return the Service that answers for them.

    Raises:
        StartError: two models of one name.
        BundleError: a Bundle cannot be trusted or opened, or its golden pictures get other scores
            here than in training.
    """
    limits = limits or ServiceLimits()
    workers = limits.workers or cores()
    named = {path: model_name(path) for path in models}
    if len(set(named.values())) < len(models):
        twice = next(n for n in named.values() if [*map(model_name, models)].count(n) > 1)
        raise StartError(
            f"Two models would be called {twice!r}. Rename one of the folders: a model is "
            "served under its folder's name."
        )
    opened = []
    for path, name in named.items():
        predictor = open_predictor(path, engine, threads=max(1, cores() // workers))
        verify_golden(predictor)
        opened.append(Model(name, predictor.manifest.id, predictor))
    return Service(opened, limits)


def listen(host: str, port: int) -> socket.socket:
    """Take a TCP port, before anything slow is loaded.

    Raises:
        StartError: the port is taken or not allowed, or the address is not this machine's; the
            message names a free port.
    """
    if not 0 <= port <= 65535:
        raise StartError(f"A port is 0 to 65535, got {port}. 0 takes any free one.")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartError(f"{host!r} is no address to listen on. Try --host 127.0.0.1.") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)  # from here on nobody else gets this port
    except OSError as error:
        listener.close()
        raise StartError(_refusal(host, port, family, error)) from error
    return listener


def model_name(path: Path) -> str:
    """Return the name a RUN or Bundle folder is served under.

    Example:
        >>> model_name(Path("runs/My Shoes (2)"))
        'my-shoes-2'
    """
    resolved = path.resolve()
    name = resolved.parent.name if resolved.name == "bundle" else resolved.name
    plain = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-._")
    return plain[:64] or "recognizer"


def _refusal(host: str, port: int, family: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program. {_free(host, port, family)}"
    if error.errno == errno.EACCES:
        return f"Port {port} on {host} is not allowed for this user. {_free(host, 8000, family)}"
    return f"Cannot listen on {host}:{port}: {error.strerror}. Try --host 127.0.0.1."


def _free(host: str, port: int, family: int) -> str:
    for candidate in [*range(port + 1, min(port + PORTS_TRIED, 65536)), 0]:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return f"Try --port {probe.getsockname()[1]}, which is free."
    return "Try --port 0, which takes any free one."


def _shown(host: str) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - only shown
    return f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
