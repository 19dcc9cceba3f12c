"""`clearsight keys create|list|rotate|revoke|audit`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearsight.cli.options import AsJson, fail, show

if TYPE_CHECKING:
    from clearsight.serve.access.keys import Issued, Key, KeyStore
    from clearsight.serve.access.usage import UsageStore

keys = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

Store = Annotated[
    Path | None,
    typer.Option("--store", help="State folder; default CLEARSIGHT_STORE or the user's own."),
]
Known = Annotated[str, typer.Argument(help="A key's id or name.")]
OnlyKey = Annotated[bool, typer.Option("--quiet", help="Print only the key.")]
ONCE = "It is shown this once; only its hash is kept."


@keys.command()
def create(
    name: Annotated[str, typer.Option("--name", help="What the key is for.")],
    scopes: Annotated[
        str,
        typer.Option("--scopes", help="What it may do: recognize, explain, metrics, admin."),
    ] = "recognize",
    tenant: Annotated[
        str, typer.Option("--tenant", help="Whose key it is; only their models are seen.")
    ] = "",
    rate: Annotated[
        str | None, typer.Option("--rate", help="Pictures over time: 10/s, 600/min, 50/h.")
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option("--quota", help="Pictures a day or month: 1000/day, 20000/month; repeatable."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="After a time (90d) or on a day (2027-01-31).")
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
    quiet: OnlyKey = False,
) -> None:
    """Make a key and show it once."""
    import time

    from clearsight.serve.access.audit import this_user
    from clearsight.serve.access.terms import read_allowance, read_expiry, read_scopes

    granted, allowance = read_scopes(scopes), read_allowance(rate, quota or [])
    ends = read_expiry(expires, time.time()) if expires is not None else None
    with _open(store) as (kept, _):
        issued = kept.create(name, granted, tenant, allowance, ends, actor=this_user())
    _show_issued(issued, as_json, quiet)


@keys.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Also revoked and expired ones.")] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """List keys, their limits and what they have used."""
    import time

    from clearsight.serve.access.quotas import Periods

    now = time.time()
    periods = Periods.at(now)
    with _open(store) as (kept, used):
        found = kept.keys(ended=every)
        totals = used.totals([periods.day, periods.month])
    rows = []
    for key in found:
        day, month = (totals.get((key.account, p), 0) for p in (periods.day, periods.month))
        if every or key.state(now) in ("active", "grace"):
            rows.append(
                {**key.about(), "state": key.state(now), "used": {"day": day, "month": month}}
            )
    show(as_json, {"keys": rows}, _table(rows) if rows else ["There are no keys."])


@keys.command()
def rotate(
    key: Known,
    grace: Annotated[
        str, typer.Option("--grace", help="How long the old key stays valid: 24h, 30m, 0.")
    ] = "24h",
    store: Store = None,
    as_json: AsJson = False,
    quiet: OnlyKey = False,
) -> None:
    """Make a successor with the same limits; the old key ends after the grace."""
    from clearsight.core.durations import seconds
    from clearsight.serve.access.audit import this_user

    grace_s = 0.0 if grace.strip() in ("0", "0s") else seconds(grace)
    with _open(store) as (kept, _):
        issued = kept.rotate(key, grace_s, actor=this_user())
    _show_issued(issued, as_json, quiet)


@keys.command()
def revoke(key: Known, store: Store = None, as_json: AsJson = False) -> None:
    """End a key; every running service refuses it within a second."""
    from clearsight.serve.access.audit import this_user

    with _open(store) as (kept, _):
        ended = kept.revoke(key, actor=this_user())
    lines = [f"revoked  {one.id}  {one.name}" for one in ended]
    show(as_json, {"revoked": [one.id for one in ended]}, lines)


@keys.command()
def audit(
    newest: Annotated[int, typer.Option("--newest", min=1, help="How many entries to show.")] = 50,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Show who did what, and prove that the log was not changed."""
    import json

    from clearsight.core.errors import GateError
    from clearsight.serve.access.keys import shown_time

    with _open(store) as (kept, _):
        entries, head, fault = kept.audit.entries(newest), kept.audit.head(), kept.audit.verify()
    rows = [
        {
            "seq": entry.seq,
            "at": shown_time(entry.at_ms / 1000),
            "actor": entry.actor,
            "action": entry.action,
            "subject": entry.subject,
            "detail": json.loads(entry.detail),
        }
        for entry in entries
    ]
    value: dict[str, Any] = {"entries": rows, "head": {"seq": head.seq, "hash": head.hash}}
    value["fault"] = {"seq": fault.seq, "what": fault.what} if fault else None
    lines = [f"{r['seq']}  {r['at']}  {r['actor']}  {r['action']}  {r['subject']}" for r in rows]
    show(as_json, value, [*lines, f"head  {head.seq}  {head.hash}"])
    if fault:
        fail(GateError(f"The audit log was changed: at entry {fault.seq}, {fault.what}."))


@contextmanager
def _open(store: Path | None) -> Iterator[tuple[KeyStore, UsageStore]]:
    from clearsight.serve.access.keys import KeyStore
    from clearsight.serve.access.usage import UsageStore
    from clearsight.serve.store.database import Database
    from clearsight.serve.store.place import database_url, store_folder

    database = Database(database_url(store_folder(store)))
    try:
        yield KeyStore(database), UsageStore(database)
    finally:
        database.close()


def _show_issued(issued: Issued, as_json: bool, quiet: bool) -> None:
    key = issued.key
    if quiet and not as_json:
        print(issued.token)
        return
    lines = [issued.token, "", ONCE, "", *(f"{n:9} {v}" for n, v in _words(key).items())]
    show(as_json, {"key": issued.token, **key.about()}, lines)


def _words(key: Key) -> dict[str, str]:
    about = key.about()
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant or "(default)",
        "scopes": ", ".join(about["scopes"]),
        "limits": _limits(about),
        "expires": about["expires"] or "never",
    }


def _limits(about: dict[str, Any]) -> str:
    rate, quota = about["rate"], about["quota"]
    parts = [f"{rate:g} pictures/s"] if rate else []
    parts += [f"{quota[unit]:,} a {unit}" for unit in ("day", "month") if quota[unit]]
    return ", ".join(parts) or "none"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    header = ("id", "name", "tenant", "scopes", "state", "expires", "limits", "today", "month")
    cells = [header]
    for row in rows:
        used = row["used"]
        cells.append(
            (
                row["id"],
                row["name"],
                row["tenant"] or "-",
                ",".join(row["scopes"]),
                row["state"],
                row["expires"] or "never",
                _limits(row),
                f"{used['day']:,}",
                f"{used['month']:,}",
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    return [
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    ]
