"""Queries of the registry; each works inside the transaction it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from clearsight.core.bundle import Manifest
from clearsight.core.errors import UnknownKeyError
from clearsight.serve.access import audit
from clearsight.serve.registry.records import (
    Alias,
    Change,
    ModelRecord,
    Signature,
    VersionRecord,
    What,
    production_before,
)
from clearsight.serve.registry.tables import aliases, history, models, versions
from clearsight.serve.store.blobs import Stored

LOOK_BACK = 1000  # changes of production from which a rollback is worked out


def read_models(connection: Connection, name: str | None = None) -> dict[str, ModelRecord]:
    """Return models by name: one, or all."""
    only = [] if name is None else [models.c.name == name]
    pointed: dict[str, dict[Alias, int]] = {}
    shares: dict[str, float] = {}
    for row in connection.execute(_of(select(aliases), aliases.c.model, name)).mappings():
        pointed.setdefault(row["model"], {})[row["alias"]] = row["version"]
        if row["alias"] == "canary":
            shares[row["model"]] = row["share"]
    found: dict[str, list[VersionRecord]] = {}
    query = _of(select(versions), versions.c.model, name).order_by(versions.c.version)
    for row in connection.execute(query).mappings():
        found.setdefault(row["model"], []).append(
            _version(dict(row), pointed.get(row["model"], {}))
        )
    records = {}
    for row in connection.execute(select(models).where(*only).order_by(models.c.name)).mappings():
        key = row["name"]
        existing = tuple(found.get(key, ()))
        records[key] = ModelRecord(
            name=key,
            tenant=row["tenant"],
            versions=existing,
            aliases=pointed.get(key, {}),
            canary_share=shares.get(key, 0.0),
            previous=_previous(connection, key, frozenset(v.version for v in existing)),
        )
    return records


def find_version(model: ModelRecord, version: int) -> VersionRecord:
    """Return one version of a model.

    Raises:
        UnknownKeyError: there is none of this number.
    """
    found = model.find(version)
    if found is None:
        numbers = [str(v.version) for v in model.versions]
        raise UnknownKeyError(f"version of {model.name!r}", str(version), numbers)
    return found


def read_history(connection: Connection, name: str | None, limit: int) -> list[Change]:
    """Return the newest changes, newest first."""
    query = _of(select(history), history.c.model, name).order_by(history.c.number.desc())
    return [Change(**row) for row in connection.execute(query.limit(limit)).mappings()]


def add_version(
    connection: Connection,
    name: str,
    stored: Stored,
    manifest: Manifest,
    said: Mapping[str, str],
) -> int:
    """Add a version to a model and return its number.

    Args:
        said: note and who.
    """
    query = select(models.c.last_version).where(models.c.name == name)
    last = connection.execute(query).scalar_one()
    signature = {"task": manifest.task, "classes": list(manifest.classes)}
    values = {
        "model": name,
        "version": last + 1,
        "digest": stored.digest,
        "size_bytes": stored.size_bytes,
        "signature": json.dumps(signature, ensure_ascii=False),
        "bundle_id": manifest.id,
        "family": manifest.family,
        "note": said["note"],
        "added_utc": _now(),
        "added_by": said["who"],
    }
    connection.execute(insert(versions).values(values))
    grown = update(models).where(models.c.name == name).values(last_version=last + 1)
    connection.execute(grown)
    return int(last) + 1


def add_model(connection: Connection, name: str, tenant: str) -> None:
    """Add a model without versions; a name that was here before goes on counting."""
    query = select(func.coalesce(func.max(history.c.version), 0)).where(history.c.model == name)
    last = connection.execute(query).scalar_one()
    values = {"name": name, "tenant": tenant, "last_version": last}
    connection.execute(insert(models).values(values))


def point(connection: Connection, name: str, alias: Alias, version: int, share: float) -> None:
    """Let an alias point at a version."""
    drop(connection, name, alias)
    values = {"model": name, "alias": alias, "version": version, "share": share}
    connection.execute(insert(aliases).values(values))


def drop(connection: Connection, name: str, *gone: Alias) -> None:
    """Take aliases away."""
    mine = (aliases.c.model == name) & aliases.c.alias.in_(gone)
    connection.execute(delete(aliases).where(mine))


def end_others(connection: Connection, model: ModelRecord, version: int) -> None:
    """End a canary or shadow of what is in production now: nothing stands beside itself."""
    beside: tuple[Alias, ...] = ("canary", "shadow")
    for alias in beside:
        if model.aliases.get(alias) == version:
            drop(connection, model.name, alias)


def remove_version(connection: Connection, name: str, version: int) -> None:
    """Remove a version; no alias may point at it."""
    mine = (versions.c.model == name) & (versions.c.version == version)
    connection.execute(delete(versions).where(mine))


def remove_model(connection: Connection, name: str) -> None:
    """Remove a model; it may have no version."""
    connection.execute(delete(models).where(models.c.name == name))


def digests(connection: Connection) -> set[str]:
    """Return the address of every Bundle that a version refers to."""
    return set(connection.execute(select(versions.c.digest).distinct()).scalars())


def log(
    connection: Connection,
    what: What,
    name: str,
    version: int | None,
    before: int | None,
    said: Mapping[str, str],
) -> None:
    """Add a line to the history, and an entry to the audit log of the store.

    Args:
        said: who and why.
    """
    newest = connection.execute(select(func.coalesce(func.max(history.c.number), 0))).scalar_one()
    values = {
        "number": newest + 1,
        "at_utc": _now(),
        "who": said["who"],
        "what": what,
        "model": name,
        "version": version,
        "before": before,
        "why": said["why"],
    }
    connection.execute(insert(history).values(values))
    detail = {"version": version, "before": before, "why": said["why"]}
    audit.record(connection, said["who"], f"model.{what}", name, detail)


def _previous(connection: Connection, name: str, existing: frozenset[int]) -> int | None:
    moved = history.c.what.in_(("promote", "rollback", "withdraw"))
    query = select(history).where(history.c.model == name, moved)
    newest = query.order_by(history.c.number.desc()).limit(LOOK_BACK)
    rows = [Change(**row) for row in connection.execute(newest).mappings()]
    return production_before(reversed(rows), existing)


def _version(values: dict[str, Any], pointed: Mapping[Alias, int]) -> VersionRecord:
    signature = json.loads(values.pop("signature"))
    mine = tuple(
        alias for alias, version in sorted(pointed.items()) if version == values["version"]
    )
    return VersionRecord(
        **values,
        signature=Signature(signature["task"], tuple(signature["classes"])),
        aliases=mine,
    )


def _of(query: Any, column: Any, name: str | None) -> Any:
    return query if name is None else query.where(column == name)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
