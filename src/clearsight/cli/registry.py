"""`clearsight registry add|list|promote|rollback|canary|shadow|stop|remove|gc|backup ...`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearsight.cli.options import AsJson, EngineName, Run, fail, show

if TYPE_CHECKING:
    from clearsight.serve.registry.model_registry import ModelRegistry
    from clearsight.serve.registry.promotion import Bounds, Report
    from clearsight.serve.registry.records import ModelRecord

registry = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)
QUOTA = "50GB"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The model, as requests call it.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="1, 2, 3 ...")]
MaybeNumber = Annotated[
    int | None, typer.Argument(metavar="[VERSION]", min=1, help="1, 2, 3 ...", show_default=False)
]
Store = Annotated[
    Path | None,
    typer.Option("--store", help="State folder; default CLEARSIGHT_STORE or the user's own."),
]
Why = Annotated[str, typer.Option("--why", help="The reason, for the history.")]
Quota = Annotated[
    str,
    typer.Option("--quota", envvar="CLEARSIGHT_QUOTA", help="What all Bundles may take: 50GB."),
]
LatencyRatio = Annotated[
    float | None,
    typer.Option("--max-latency-ratio", help="CPU time a picture, times production's; default 2."),
]
LatencyMs = Annotated[
    float | None, typer.Option("--max-latency-ms", help="CPU time a picture, at most.")
]
MemoryRatio = Annotated[
    float | None,
    typer.Option("--max-memory-ratio", help="Memory, times production's; default 2."),
]
Memory = Annotated[str | None, typer.Option("--max-memory", help="Memory, at most: 500MB, 2GB.")]
NewSignature = Annotated[
    bool, typer.Option("--new-signature", help="Accept other classes or another task.")
]


@registry.command()
def add(
    name: Name,
    run: Run,
    note: Annotated[str, typer.Option("--note", help="What there is to say of it.")] = "",
    tenant: Annotated[
        str, typer.Option("--tenant", help="Whose model it is; default everybody's.")
    ] = "",
    quota: Quota = QUOTA,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Copy a recognizer into the store as the model's next version."""
    with _open(store, quota) as kept:
        added = kept.add(name, run, who=_user(), note=note, tenant=tenant)
    version = added.record.version
    value = {"model": name, "version": version, "new": added.new, "digest": added.record.digest}
    done = "Added" if added.new else "It was there already:"
    show(
        as_json,
        value,
        [
            f"{done} {name} version {version}.",
            f"Let it answer with: clearsight registry promote {name} {version}",
        ],
    )


@registry.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One model.")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """List models, their versions and which of them answer."""
    from dataclasses import asdict

    with _open(store) as kept:
        found = kept.models() if name is None else [kept.model(name)]
    lines = [line for model in found for line in _model_lines(model)]
    value = {"models": [asdict(model) for model in found]}
    empty = ["The registry is empty. Add a recognizer: clearsight registry add NAME RUN"]
    show(as_json, value, lines or empty)


@registry.command()
def promote(
    name: Name,
    version: Number,
    why: Why = "",
    max_latency_ratio: LatencyRatio = None,
    max_latency_ms: LatencyMs = None,
    max_memory_ratio: MemoryRatio = None,
    max_memory: Memory = None,
    new_signature: NewSignature = False,
    engine: EngineName = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Check a version and let it answer; running services follow without a failed request."""
    bounds = _bounds(
        max_latency_ratio, max_latency_ms, max_memory_ratio, max_memory, new_signature, engine
    )
    with _open(store) as kept:
        report = kept.promote(name, version, who=_user(), why=why, bounds=bounds)
    _show_report(as_json, name, version, "production", report)


@registry.command()
def canary(
    name: Name,
    version: Number,
    share: Annotated[
        float, typer.Option("--share", help="Of the keys, above 0 and below 1.")
    ] = 0.1,
    why: Why = "",
    max_latency_ratio: LatencyRatio = None,
    max_latency_ms: LatencyMs = None,
    max_memory_ratio: MemoryRatio = None,
    max_memory: Memory = None,
    new_signature: NewSignature = False,
    engine: EngineName = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Check a version and let it answer a share of the keys."""
    bounds = _bounds(
        max_latency_ratio, max_latency_ms, max_memory_ratio, max_memory, new_signature, engine
    )
    with _open(store) as kept:
        report = kept.canary(name, version, share, who=_user(), why=why, bounds=bounds)
    _show_report(as_json, name, version, f"canary for {share:.3g} of the keys", report)


@registry.command()
def shadow(
    name: Name,
    version: Number,
    why: Why = "",
    max_latency_ratio: LatencyRatio = None,
    max_latency_ms: LatencyMs = None,
    max_memory_ratio: MemoryRatio = None,
    max_memory: Memory = None,
    new_signature: NewSignature = False,
    engine: EngineName = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Check a version and let it see requests beside production; its answers are compared."""
    bounds = _bounds(
        max_latency_ratio, max_latency_ms, max_memory_ratio, max_memory, new_signature, engine
    )
    with _open(store) as kept:
        report = kept.shadow(name, version, who=_user(), why=why, bounds=bounds)
    _show_report(as_json, name, version, "shadow", report)


@registry.command()
def stop(
    name: Name,
    alias: Annotated[str, typer.Argument(metavar="canary|shadow", help="What shall end.")],
    why: Why = "",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """End a canary or a shadow; its version stays."""
    with _open(store) as kept:
        before = kept.stop(name, alias, who=_user(), why=why)
    value = {"model": name, "alias": alias, "before": before}
    show(as_json, value, [f"{name}: version {before} is no {alias} any more."])


@registry.command()
def rollback(name: Name, why: Why = "", store: Store = None, as_json: AsJson = False) -> None:
    """Let the version answer that was in production before."""
    with _open(store) as kept:
        version = kept.rollback(name, who=_user(), why=why)
    value = {"model": name, "alias": "production", "version": version}
    show(as_json, value, [f"{name}: version {version} is in production again."])


@registry.command()
def withdraw(name: Name, why: Why = "", store: Store = None, as_json: AsJson = False) -> None:
    """Take a model out of service; its versions stay."""
    with _open(store) as kept:
        kept.withdraw(name, who=_user(), why=why)
    show(as_json, {"model": name, "withdrawn": True}, [f"{name} does not answer any more."])


@registry.command()
def remove(
    name: Name,
    version: MaybeNumber = None,
    every: Annotated[
        bool, typer.Option("--all", help="The model with all its versions; no VERSION then.")
    ] = False,
    why: Why = "",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Remove a version, or a model that does not answer."""
    from clearsight.core.errors import UsageError

    if every == (version is not None):
        raise UsageError("Say which VERSION to remove, or --all for the whole model.")
    with _open(store) as kept:
        kept.remove(name, version, who=_user(), why=why)
    what = f"{name} version {version}" if version else f"{name} and all its versions"
    line = f"Removed {what}. Its files go with: clearsight registry gc"
    show(as_json, {"model": name, "version": version, "removed": True}, [line])


@registry.command()
def gc(
    grace: Annotated[
        str, typer.Option("--grace", help="What was added later than this ago stays: 1h, 0.")
    ] = "1h",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Remove Bundles from the store that no version refers to."""
    from clearsight.core.durations import seconds

    grace_s = 0.0 if grace.strip() in ("0", "0s") else seconds(grace)
    with _open(store) as kept:
        gone = kept.collect(grace_s)
    line = f"Removed {len(gone.digests)} Bundles, {gone.freed_bytes / 1e6:.1f} MB."
    show(as_json, {"removed": list(gone.digests), "freed_bytes": gone.freed_bytes}, [line])


@registry.command()
def history(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One model.")] = None,
    newest: Annotated[int, typer.Option("--newest", min=1, help="How many lines.")] = 50,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, when and why, newest first."""
    from dataclasses import asdict

    with _open(store) as kept:
        found = kept.history(name, newest)
    lines = [
        f"{c.at_utc[:19]}Z  {c.who}  {c.what} {c.model} {c.version or ''}  {c.why}".rstrip()
        for c in found
    ]
    show(as_json, {"history": [asdict(c) for c in found]}, lines or ["Nothing was changed yet."])


@registry.command()
def check(store: Store = None, as_json: AsJson = False) -> None:
    """Read every row and every Bundle of the store, and say what is damaged."""
    from clearsight.core.errors import GateError
    from clearsight.serve.registry.backup import look_through

    with _open(store) as kept:
        problems = look_through(kept)
    show(as_json, {"problems": problems}, problems or ["The store is whole."])
    if problems:
        message = f"The store has {len(problems)} problems. Restore what is damaged from a backup."
        fail(GateError(message))


@registry.command()
def backup(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the backup.")],
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Write the whole store into a new folder while services and writers go on."""
    from clearsight.serve.registry.backup import back_up

    with _open(store) as kept:
        count = back_up(kept, out)
    show(as_json, {"out": str(out), "bundles": count}, [f"Wrote {out} with {count} Bundles."])


@registry.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="What `backup` wrote.")],
    store: Store = None,
    quota: Quota = QUOTA,
    as_json: AsJson = False,
) -> None:
    """Put a backup back into an empty store."""
    from clearsight.core.amounts import parse_bytes
    from clearsight.serve.registry.backup import restore as put_back
    from clearsight.serve.registry.open import open_bundles
    from clearsight.serve.store.database import Database
    from clearsight.serve.store.place import database_url, store_folder

    folder = store_folder(store)
    database = Database(database_url(folder))
    try:
        count = put_back(source, database, open_bundles(folder, parse_bytes(quota)))
    finally:
        database.close()
    line = f"Put {count} Bundles and all rows back into {folder}."
    show(as_json, {"store": str(folder), "bundles": count}, [line])


@contextmanager
def _open(store: Path | None, quota: str = QUOTA) -> Iterator[ModelRegistry]:
    from clearsight.core.amounts import parse_bytes
    from clearsight.serve.registry.open import open_registry

    kept = open_registry(store, parse_bytes(quota))
    try:
        yield kept
    finally:
        kept.database.close()


def _user() -> str:
    from clearsight.serve.access.audit import this_user

    return this_user()


def _bounds(
    latency_ratio: float | None,
    latency_ms: float | None,
    memory_ratio: float | None,
    memory: str | None,
    new_signature: bool,
    engine: str | None,
) -> Bounds:
    from clearsight.core.amounts import parse_bytes
    from clearsight.serve.registry.promotion import Bounds

    chosen = {
        "latency_ratio": latency_ratio,
        "latency_ms": latency_ms,
        "memory_ratio": memory_ratio,
        "memory_mb": None if memory is None else parse_bytes(memory) / 1e6,
        "engine": engine,
    }
    told = {name: value for name, value in chosen.items() if value is not None}
    return Bounds.parse({**told, "new_signature": new_signature})


def _show_report(as_json: bool, name: str, version: int, now: str, report: Report) -> None:
    from dataclasses import asdict

    value = {"model": name, "version": version, "alias": now.split()[0], **asdict(report)}
    lines = [f"{name}: version {version} is {now} now."]
    if report.candidate:
        lines.append(_need("It needs", report.candidate.latency_ms, report.candidate.memory_mb))
    if report.incumbent:
        what = _need("Before it was", report.incumbent.latency_ms, report.incumbent.memory_mb)
        lines.append(what)
    show(as_json, value, [*lines, *report.notes])


def _need(words: str, latency_ms: float, memory_mb: float) -> str:
    return f"{words} {latency_ms:.3g} ms of CPU a picture and {memory_mb:.0f} MB."


def _model_lines(model: ModelRecord) -> list[str]:
    owner = f" of {model.tenant}" if model.tenant else ""
    head = f"{model.name}{owner}"
    if "production" not in model.aliases:
        head += "  (nothing in production)"
    lines = [head]
    for v in model.versions:
        marks = [f"canary {model.canary_share:.0%}" if a == "canary" else a for a in v.aliases]
        facts = [v.added_utc[:10], v.family, f"{v.size_bytes / 1e6:.1f} MB", v.added_by, v.note]
        lines.append(f"  {v.version:>3}  {', '.join(marks) or '-':24}  {'  '.join(facts)}".rstrip())
    return lines
