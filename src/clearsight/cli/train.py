"""`clearsight train DATA --out RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clearsight.cli.main import STARTED
from clearsight.cli.options import AsJson, Data, Quiet, progress_of, show


def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="New folder for the run.")],
    time: Annotated[
        str | None,
        typer.Option(
            "--time", help="Wall clock until the Bundle is on disk: 90s, 10m (default 10m)."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Passes over the training pictures.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="auto, a family, or a timm model name.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Same seed, same split.")
    ] = None,
    harden: Annotated[
        str | None,
        typer.Option(
            "--harden",
            help="Hold when pictures change: noise, augmix, prime; or under attack: fast, pgd, "
            "trades.",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML or JSON file with settings.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, a.b=value; can be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the data and say what would be done.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a recognizer from a folder of labelled images."""
    from clearsight import api
    from clearsight.learn.hardened import say_hardened

    options: dict[str, Any] = {
        "time": time,
        "epochs": epochs,
        "model": model,
        "seed": seed,
        "harden": harden,
    }
    settings = api.train_settings(config=config, settings=set_ or [], **options)
    if resume and (any(value is not None for value in options.values()) or config or set_):
        raise typer.BadParameter("--resume continues with the settings the run began with.")
    with progress_of(quiet) as progress:
        if dry_run:
            plan = api.plan_training(data, settings)
            show(as_json, plan, [f"{name}: {value}" for name, value in plan.items()])
            return
        run = api.train_run(data, out, settings, progress=progress, started=STARTED, resume=resume)
    figures = run.evaluation
    low, high = figures["accuracy_ci"]
    show(
        as_json,
        {
            "run": str(run.run),
            "family": run.family,
            "seconds": round(run.seconds, 2),
            "evaluate": figures,
            **({"hardened": run.hardened} if run.hardened else {}),
        },
        [
            f"Trained {run.family} in {run.seconds:.1f} s: validation accuracy "
            f"{figures['accuracy']:.4f} (95 % CI {low:.4f}-{high:.4f}, n {figures['n']}).",
            *(say_hardened(run.hardened) if run.hardened else []),
            f"Bundle: {run.bundle.path}",
            f"Next:   clearsight evaluate {out}",
            f"        clearsight serve {out}",
        ],
    )
