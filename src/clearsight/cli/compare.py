"""`clearsight compare RUN RUN...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clearsight.cli.options import AsJson, EngineName, Quiet, progress_of, show


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more RUN or Bundle folders.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Labelled pictures; default: the part all runs hold out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a report: FILE.html, with .json and .svg.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Score a random sample of so many pictures."),
    ] = None,
    engine: EngineName = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rank recognizers and say which of them differ."""
    from clearsight import api
    from clearsight.cli.ranking import ranking
    from clearsight.evaluate.comparison_report import check_report_path, write_comparison

    if out is not None:
        check_report_path(out)
    with progress_of(quiet) as progress:
        found = api.compare(runs, data, engine=engine, limit=limit, progress=progress)
    written = {} if out is None else {"report": str(write_comparison(out, found))}
    lines = [] if as_json else ranking(found)
    show(
        as_json, {**found.to_json(), **written}, lines + [f"Report: {p}" for p in written.values()]
    )
