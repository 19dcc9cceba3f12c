"""`clearsight leaderboard DATA --time T --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clearsight.cli.options import AsJson, Data, EngineName, Quiet, progress_of, show


def leaderboard(
    data: Data,
    time: Annotated[
        str | None,
        typer.Option("--time", help="For each recognizer, everything included (default 5m)."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for runs and results.")] = Path(
        "leaderboard"
    ),
    models: Annotated[
        str | None, typer.Option("--models", help="Names as for train --model, with commas.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Same seed, same split.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Score a random sample of so many pictures."),
    ] = None,
    engine: EngineName = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Train what is not finished in --out.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained, and how.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train many recognizers for the same time and rank them."""
    from clearsight.cli.ranking import ranking
    from clearsight.core.durations import seconds
    from clearsight.evaluate.comparison_report import late
    from clearsight.leaderboard import Plan, plan_leaderboard, run_leaderboard

    chosen = {
        "time_s": None if time is None else seconds(time),
        "models": None if models is None else tuple(name.strip() for name in models.split(",")),
        "seed": seed,
    }
    plan = Plan.parse({"data": str(data.resolve())} | {k: v for k, v in chosen.items() if v})
    if resume and any(value is not None for value in chosen.values()):
        raise typer.BadParameter("--resume goes on with --time, --models and --seed as they were.")
    with progress_of(quiet) as progress:
        if dry_run:
            planned = plan_leaderboard(plan)
            lines = [f"{name}: {what}" for name, what in planned["models"].items()]
            show(as_json, planned, lines)
            return
        board = run_leaderboard(plan, out, resume, progress, engine=engine, limit=limit)
    lines = [] if as_json else ranking(board.found)
    lines += [f"Not trained: {name}: {reason}" for name, reason in board.told.failed.items()]
    lines += [
        f"Longer than its time: {item.contender.name}: {item.contender.train_s:.0f} s"
        for item in late(board.found, board.told)
    ]
    show(as_json, board.to_json(), [*lines, f"Report: {board.report}"])
