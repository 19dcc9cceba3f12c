"""`clearsight tune DATA --out STUDY`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clearsight.cli.main import STARTED
from clearsight.cli.options import AsJson, Data, Quiet, progress_of, show


def tune(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="New folder for the study.")],
    time: Annotated[
        str | None,
        typer.Option("--time", help="Wall clock of the whole study: 10m, 2h (default 10m)."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="How many settings are tried.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A model to search over; can be repeated."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Same seed, same split and draws.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML or JSON file with settings.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting that is not searched, a.b=value; can be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the study in --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the data and show what would be searched.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Search for the best settings within a time, and train them."""
    from clearsight import api

    options: dict[str, Any] = {"time": time, "seed": seed, "config": config, "settings": set_ or []}
    models = model or []
    with progress_of(quiet) as progress:
        if dry_run:
            plan = api.plan_study(data, models=models, trials=trials, **options)
            show(as_json, plan, _space_lines(plan))
            return
        found = api.tune(
            data,
            out=out,
            models=models,
            trials=trials,
            resume=resume,
            progress=progress,
            started=STARTED,
            **options,
        )
    best, figures = found.outcome["best"], found.outcome["evaluate"]
    low, high = figures["accuracy_ci"]
    show(
        as_json,
        found.outcome,
        [
            f"{len(found.outcome['trials'])} trials in {found.outcome['seconds']:.1f} s; the best "
            f"is {best['number']} ({best['model']}).",
            f"Its recognizer: validation accuracy {figures['accuracy']:.4f} "
            f"(95 % CI {low:.4f}-{high:.4f}, n {figures['n']}).",
            f"Report: {out / 'report.html'}",
            f"Next:   clearsight evaluate {found.run}",
            f"        clearsight train DATA --config {out / 'best.json'} --out RUN",
        ],
    )


def _space_lines(plan: dict[str, Any]) -> list[str]:
    lines = []
    for name, axes in plan["space"].items():
        lines.append(f"{name}:")
        for axis in axes:
            span = ", ".join(axis.get("choices", [])) or (
                f"{axis['from']:g} to {axis['to']:g} ({axis['scale']})"
            )
            lines.append(f"  {axis['setting']}: {span}; first {axis['first']}")
    seconds = plan["trial_seconds"]
    lines.append("trials: " + (f"of {seconds:.1f} s" if seconds else f"{plan['trials'] or 20}"))
    return lines
