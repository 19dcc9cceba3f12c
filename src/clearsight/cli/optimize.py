"""`clearsight optimize RUN --precision int8`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from clearsight.cli.options import AsJson, Quiet, Run, progress_of, show


def optimize(
    run: Run,
    precision: Annotated[str, typer.Option("--precision", help="int8, fp16 or bf16.")] = "int8",
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Labelled pictures; default: what RUN was trained on."),
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option("--max-drop", min=0, max=100, help="Points of accuracy that may be lost."),
    ] = 0.5,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Score a random sample of so many pictures."),
    ] = None,
    keep_slower: Annotated[
        bool, typer.Option("--keep-slower", help="Store it where it is not faster, too.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="New folder for the Bundle; default: in RUN.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a recognizer smaller and faster, and measure what it loses."""
    from clearsight import api
    from clearsight.core.errors import UsageError, nearest
    from clearsight.core.variants import Precision

    known: Any = get_args(Precision)
    if precision not in known:
        raise UsageError(f"Unknown precision {precision!r}.{nearest(precision, known)}")
    with progress_of(quiet) as progress:
        found = api.optimize(
            run,
            data,
            precision=precision,  # type: ignore[arg-type] # checked above
            max_drop=max_drop,
            limit=limit,
            keep_slower=keep_slower,
            out=out,
            progress=progress,
        )
    told = found.to_json()
    lines = [
        f"{engine}: {seen['speed_up']:.2f} times as fast as fp32, loses {seen['drop']:.2f} points "
        f"(95 % CI {seen['drop_low']:.2f} to {seen['drop_high']:.2f}, n {seen['n']}), same answer "
        f"for {seen['agreement']:.1%}"
        for engine, seen in told["engines"].items()
    ]
    share = told["bytes"] / told["bytes_fp32"]
    lines.append(f"Its file is {share:.0%} of the fp32 one. Measured on {told['machine']}.")
    lines.append(f"Variant {found.key} stored in {found.bundle.path}")
    show(as_json, told, lines)
