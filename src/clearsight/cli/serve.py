"""`clearsight serve RUN...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clearsight.cli.options import EngineName, Quiet, progress_of


def serve(
    runs: Annotated[list[Path], typer.Argument(help="One or more RUN or Bundle folders.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; only 127.0.0.1 is private.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")
    ] = 8000,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Worker threads; default one a core.")
    ] = None,
    queue: Annotated[
        int | None, typer.Option("--queue", min=1, help="Requests that may wait; more are refused.")
    ] = None,
    engine: EngineName = None,
    quiet: Quiet = False,
) -> None:
    """Serve recognizers over HTTP, with a page to try them."""
    from clearsight.serve.run import serve as run_service
    from clearsight.serve.service import ServiceLimits

    chosen = {"workers": workers, "queue": queue}
    limits = ServiceLimits(**{name: value for name, value in chosen.items() if value is not None})

    def ready(url: str) -> None:
        print(f"Serving at {url} - open it in a browser, or POST a picture to {url}/v1/recognize")
        print("Stop with Ctrl-C.", flush=True)

    with progress_of(quiet=True) as progress:
        run_service(
            runs,
            host=host,
            port=port,
            limits=limits,
            engine=engine,
            progress=progress,
            on_ready=None if quiet else ready,
        )
