"""Options that several verbs share, and how results are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from clearsight.core.errors import ClearsightError
from clearsight.core.progress import Progress, Silent

Data = Annotated[
    Path,
    typer.Argument(
        help="Class folders, a folder with train/val/test, a CSV/JSONL manifest, or IDX files."
    ),
]
Run = Annotated[Path, typer.Argument(help="The folder `train` wrote, or a Bundle.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only results and errors.")]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", help="openvino or onnxruntime; default: the fastest there."),
]


@contextmanager
def progress_of(quiet: bool) -> Iterator[Progress]:
    """Yield where to report: bars on stderr, or nothing."""
    if quiet:
        yield Silent()
        return
    from clearsight.cli.progress import BarProgress

    with BarProgress() as bars:
        yield bars


def show(as_json: bool, value: dict[str, Any], lines: list[str]) -> None:
    """Print one JSON object, or lines for a person, on stdout."""
    if as_json:
        plain = sys.stdout.encoding.lower() == "utf-8"
        json.dump(value, sys.stdout, ensure_ascii=not plain, allow_nan=False)
        sys.stdout.write("\n")
    else:
        print("\n".join(lines))


def fail(error: ClearsightError) -> NoReturn:
    """End with the error's exit code after results were shown: stdout stays one JSON object."""
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr)
    raise typer.Exit(error.exit_code)
