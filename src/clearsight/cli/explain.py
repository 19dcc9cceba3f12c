"""`clearsight explain RUN IMAGE...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clearsight.cli.options import AsJson, EngineName, Quiet, Run, fail, progress_of, show
from clearsight.core.errors import ClearsightError


def explain(
    run: Run,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Pictures and folders of pictures.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="auto, cam, grad-cam, grad-cam-plus-plus, layer-cam, integrated-gradients, "
            "attention-rollout, occlusion or rise.",
        ),
    ] = "auto",
    label: Annotated[
        str | None, typer.Option("--class", help="Why this class; default: each picture's best.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Why not this class; 'next' takes each picture's second."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the method, such as masks=500; may be repeated."),
    ] = None,
    class_maps: Annotated[
        int,
        typer.Option(
            "--class-maps", min=0, help="Average maps of so many held-out pictures a class."
        ),
    ] = 0,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Pictures for average maps; default: RUN's held-out part."),
    ] = None,
    check_weights: Annotated[
        bool,
        typer.Option(
            "--check-weights/--no-check-weights",
            help="See whether the maps change with random weights.",
        ),
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder; default RUN/explain.")
    ] = None,
    engine: EngineName = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Of the random maps and weights to compare with.")
    ] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show why a recognizer says so, with scores that say whether the map is true."""
    from clearsight import api
    from clearsight.core.config import override

    asked = api.Asked(
        method=method,
        label=label,
        against=against,
        options=override({}, settings or []),
        class_maps=class_maps,
        check_weights=check_weights,
        seed=seed,
    )
    with progress_of(quiet) as progress:
        found = api.explain_run(
            run, images or [], asked, out, data, engine=engine, progress=progress
        )
    told = found.to_json()
    show(as_json, told, _lines(told))
    rows = told["explanations"]
    if rows and all("error" in row for row in rows):
        fail(ClearsightError(f"No picture could be explained: {rows[0]['error']}"))


def _lines(told: dict[str, Any]) -> list[str]:
    """Return what a person reads."""
    lines = [_line(row) for row in told["explanations"]]
    check = told["weights_check"]
    if check["passed"] is None:
        lines.append(f"Not checked against random weights: {check.get('reason', '')}")
    elif check["passed"]:
        lines.append(f"With random weights in {_alike(check)}: the maps differ.")
    else:
        lines.append(
            f"With random weights in {_alike(check)}: the maps hardly change, so none counts as "
            "faithful."
        )
    for row in told["class_maps"]:
        mark = "  <- look at the border" if row["suspicious"] else ""
        share = f"{row['border_share']:.0%} of the evidence in the border"
        lines.append(f"{row['label']} (n {row['n']}): {share}{mark}")
    lines.append(f"Sheet: {told['sheet']}")
    return lines


def _alike(check: dict[str, Any]) -> str:
    return f"{check['redrawn']} (alike {check['similarity']:.2f} of 1, n {check['n']})"


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['path']}: {row['error']}"
    pair = f" and not {row['against']}" if "against" in row else ""
    y, x = row["peak"]
    verdict = "faithful" if row["faithful"] else "no better than chance or the centre"
    return (
        f"{row['path']}: {row['label']}{pair} {row['score']:.1%}, strongest at y {y}, x {x}; "
        f"deletion {row['deletion']:.3f} (random {row['random_deletion']:.3f}), "
        f"insertion {row['insertion']:.3f} (random {row['random_insertion']:.3f}): {verdict}"
    )
