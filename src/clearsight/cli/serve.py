"""`clearsight serve [RUN...]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearsight.cli.options import EngineName, Quiet, progress_of

if TYPE_CHECKING:
    from clearsight.serve.access.tls import Tls
    from clearsight.serve.run import Serving

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="RUN or Bundle folders; beside them the registry's models."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; only 127.0.0.1 is private.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")
    ] = 8000,
    grpc_port: Annotated[
        int | None, typer.Option("--grpc-port", min=0, max=65535, help="Opens gRPC too.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="State folder; default CLEARSIGHT_STORE or the user's own."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-cert", help="PEM file with the server's certificate.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", help="PEM file with the certificate's key.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Worker threads; default the cores and one."),
    ] = None,
    queue: Annotated[
        int | None, typer.Option("--queue", min=1, help="Pictures that may wait; more are refused.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", help="For all loaded models: 500MB, 4GB. Default half of it."),
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option("--share", help="NAME=2 gives a model twice a share of busy workers."),
    ] = None,
    remember: Annotated[
        int | None,
        typer.Option("--remember", min=1, help="Answers kept for pictures that come again."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option("--max-drop", min=0, help="Points that a faster variant may have lost."),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option("--log", help="info (a line a request), warning, error or off."),
    ] = None,
    drift_features: Annotated[
        bool, typer.Option("--drift-features", help="Watch embeddings for drift; takes memory.")
    ] = False,
    engine: EngineName = None,
    quiet: Quiet = False,
) -> None:
    """Serve recognizers over HTTP, and gRPC where asked for, with a page to try them."""
    from clearsight.core.amounts import parse_bytes
    from clearsight.serve.limits import ServiceLimits
    from clearsight.serve.run import Door
    from clearsight.serve.run import serve as run_service

    chosen = {
        "workers": workers,
        "queue": queue,
        "memory_bytes": None if memory is None else parse_bytes(memory),
        "shares": _shares(share or []),
        "remember": remember,
        "max_drop": max_drop,
        "drift_features": drift_features,
    }
    limits = ServiceLimits.parse({name: v for name, v in chosen.items() if v is not None})
    door = Door(host, port, grpc_port, _tls(certificate, key))

    with progress_of(quiet=True) as progress:
        run_service(
            runs or [],
            door,
            limits=limits,
            engine=engine,
            store=store,
            progress=progress,
            log_level=log,
            on_ready=None if quiet else lambda serving: _greet(serving, host),
        )


def _greet(serving: Serving, host: str) -> None:
    url = serving.url
    print(f"Serving at {url} - open it in a browser, or POST a picture to {url}/v1/recognize")
    if serving.grpc:
        print(f"gRPC (Open Inference Protocol) at {serving.grpc}")
    if not serving.keys and host not in LOOPBACK:
        print(
            f"Everybody who reaches {host} may use it. 'clearsight keys create --name NAME' makes "
            "the first key; from then on a key is needed.",
            file=sys.stderr,
        )
    print("Stop with Ctrl-C.", flush=True)


def _tls(certificate: Path | None, key: Path | None) -> Tls | None:
    from clearsight.core.errors import UsageError
    from clearsight.serve.access.tls import Tls

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise UsageError("TLS needs both --tls-cert and --tls-key.")
    return Tls(certificate, key)


def _shares(told: list[str]) -> dict[str, float]:
    from clearsight.core.errors import UsageError

    shares = {}
    for text in told:
        name, _, weight = text.partition("=")
        try:
            shares[name] = float(weight)
        except ValueError as error:
            example = "for example shoes=2"
            raise UsageError(f"--share takes NAME=WEIGHT, {example}; got {text!r}.") from error
    return shares
