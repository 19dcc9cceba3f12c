"""`clearsight demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clearsight.cli.options import progress_of


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for what the demo makes.")] = Path(
        "demo"
    ),
    time: Annotated[str, typer.Option("--time", help="Training time.")] = "90s",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")
    ] = 8000,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="End by itself after the service has answered.")
    ] = False,
) -> None:
    """The whole road on real pictures: check, train, evaluate, serve."""
    from clearsight.demo import run_demo

    with progress_of(quiet=False) as progress:
        run_demo(out, time, port, keep_serving=not no_serve, progress=progress, say=print)
