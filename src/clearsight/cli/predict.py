"""`clearsight predict RUN PATHS... --out FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clearsight.cli.options import AsJson, EngineName, Quiet, Run, fail, progress_of, show
from clearsight.core.errors import ClearsightError


def predict(
    run: Run,
    paths: Annotated[list[Path], typer.Argument(help="Pictures and folders of pictures.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Table to write: .csv, .jsonl or .parquet; default: print."),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Labels a picture; default every class.")
    ] = None,
    engine: EngineName = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Recognize files and folders into a table."""
    from clearsight import api

    with progress_of(quiet or out is None) as progress:
        rows = api.predict_paths(run, paths, out, top=top, engine=engine, progress=progress)
    failed = sum(row.error is not None for row in rows)
    summary = f"{len(rows)} pictures, {failed} with an error"
    lines = [row.line() for row in rows] if out is None else [f"Wrote {out}: {summary}."]
    show(
        as_json, {"rows": [row.to_json() for row in rows], "out": str(out) if out else None}, lines
    )
    if rows and failed == len(rows):
        message = f"No picture could be recognized ({summary}); see the error column."
        fail(ClearsightError(message))
