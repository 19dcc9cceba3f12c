"""What the registry says when it refuses."""

from __future__ import annotations

from clearsight.core.errors import UsageError
from clearsight.serve.registry.records import Alias, ModelRecord, VersionRecord

TEXT_LIMIT = 2000


def said(who: str, **words: str) -> dict[str, str]:
    """Return what a person said, if it fits.

    Raises:
        UsageError: nobody, or too long.
    """
    said = {"who": who, **words}
    if not who:
        raise UsageError("A change needs somebody who makes it; got an empty name.")
    for name, value in said.items():
        if len(value) > TEXT_LIMIT or "\0" in value:
            raise UsageError(f"'{name}' may have {TEXT_LIMIT} characters; got {len(value)}.")
    return said


def in_use(record: VersionRecord) -> str:
    """Say why a version cannot be removed, and what to do first."""
    alias = record.aliases[0]
    way = {
        "production": f"Promote another version first, or run: clearsight registry withdraw "
        f"{record.model}",
        "canary": f"Run first: clearsight registry stop {record.model} canary",
        "shadow": f"Run first: clearsight registry stop {record.model} shadow",
    }[alias]
    return f"Version {record.version} of {record.model!r} is {alias} and cannot be removed. {way}"


def meanwhile(name: str) -> str:
    """Say that somebody else was faster."""
    return (
        f"Somebody else changed {name!r} at the same moment; nothing was changed. Look at it with "
        f"'clearsight registry list {name}' and run the command again."
    )


def unchanged(name: str, alias: Alias, model: ModelRecord) -> str:
    """Say what an alias still points at."""
    before = model.aliases.get(alias)
    return f"Nothing was changed: {name!r} has {alias} {'nothing' if before is None else before}."
