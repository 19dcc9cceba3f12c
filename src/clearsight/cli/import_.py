"""`clearsight import MODEL --classes FILE --out RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from clearsight.cli.options import AsJson, Quiet, progress_of, show


def import_(
    model: Annotated[
        str, typer.Argument(help="A file .onnx, .keras or .safetensors, or timm:NAME.")
    ],
    classes: Annotated[
        Path, typer.Option("--classes", help="Class names: one a line, or a JSON list.")
    ],
    out: Annotated[Path, typer.Option("--out", help="New folder for the run.")],
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            "--preprocess",
            help="What the model expects, name=value: range=0-1, size=224x224, mean=, std=, "
            "channels=RGB|BGR|grey, fit=stretch|crop|letterbox, layout=NCHW|NHWC, "
            "outputs=logits|probabilities; or a TOML or JSON file. Can be repeated.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Labelled pictures to score, calibrate and check with."),
    ] = None,
    task: Annotated[
        str, typer.Option("--task", help="single-label, multi-label or ordinal.")
    ] = "single-label",
    architecture: Annotated[
        str | None,
        typer.Option("--architecture", help="timm name of the network in a .safetensors file."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Use a random sample of so many pictures.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a run out of a model from elsewhere."""
    from clearsight import api
    from clearsight.core.errors import UsageError, nearest
    from clearsight.core.nouns import Task

    known: Any = get_args(Task)
    if task not in known:
        raise UsageError(f"Unknown task {task!r}.{nearest(task, known)}")
    with progress_of(quiet) as progress:
        found = api.import_model(
            model,
            classes=classes,
            out=out,
            preprocess=preprocess or [],
            data=data,
            task=task,  # type: ignore[arg-type] # checked above
            architecture=architecture,
            limit=limit,
            progress=progress,
        )
    told = found.to_json()
    lines = [
        f"The Bundle answers as the model does: probabilities off by at most "
        f"{told['parity']['max_difference']:.1e} on {told['parity']['n']} pictures."
    ]
    if "accuracy" in told["evaluate"]:
        low, high = told["evaluate"]["accuracy_ci"]
        lines.append(
            f"Accuracy {told['evaluate']['accuracy']:.4f} (95 % CI {low:.4f}-{high:.4f}, "
            f"n {told['evaluate']['n']}), temperature {told['temperature']:.3f}."
        )
    else:
        lines.append("Not scored and not calibrated: give labelled pictures with --data.")
    lines += [f"Bundle: {told['bundle']}", f"Next:   clearsight serve {out}"]
    show(as_json, told, lines)
