"""`clearsight feedback export|clear`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clearsight.cli.options import AsJson, show

feedback = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

Store = Annotated[
    Path | None,
    typer.Option("--store", help="State folder; default CLEARSIGHT_STORE or the user's own."),
]


@feedback.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="A new folder for pictures and manifest.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Only corrections of this model's answers.")
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Write corrected pictures as a data set that `clearsight train` reads."""
    from dataclasses import asdict

    from clearsight.serve.operations.export import MANIFEST
    from clearsight.serve.operations.export import export as write
    from clearsight.serve.store.place import store_folder

    exported = write(store_folder(store), out, model)
    manifest = out / MANIFEST
    lines = [
        f"{exported.exported} of {exported.found} corrections are in {manifest}: "
        f"{exported.without_picture} came without a picture, {exported.replaced} were corrected "
        f"again, {exported.others} were of other models.",
        *(f"  {label}: {count}" for label, count in exported.labels.items()),
        f"Train with: clearsight train {manifest} --out RUN",
    ]
    show(as_json, {"manifest": str(manifest), **asdict(exported)}, lines)


@feedback.command()
def clear(
    older_than: Annotated[str, typer.Option("--older-than", help="Age: 30d, 12h.")],
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Remove old corrections and their pictures; stop the service before."""
    import time

    from clearsight.core.durations import seconds
    from clearsight.serve.operations.feedback import clear as remove
    from clearsight.serve.store.place import store_folder

    removed = remove(store_folder(store), time.time() - seconds(older_than))
    show(as_json, {"removed": removed}, [f"{removed} corrections were removed."])
