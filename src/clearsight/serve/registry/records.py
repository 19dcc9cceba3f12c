"""What the registry says of models, versions and changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clearsight.core.nouns import Task
from clearsight.serve.catalogue import Entry, Version

Alias = Literal["production", "canary", "shadow"]
ALIASES: tuple[Alias, ...] = ("production", "canary", "shadow")
What = Literal[
    "add", "promote", "rollback", "canary", "shadow", "stop", "withdraw", "remove", "refused"
]
NONE = 0  # stands for "nothing is in production"; versions begin at 1


@dataclass(frozen=True, slots=True)
class Signature:
    """What callers of a model rely on.

    Args:
        task: what a label is.
        classes: names, in the order of the score columns.
    """

    task: Task
    classes: tuple[str, ...]

    def differences(self, other: Signature) -> list[str]:
        """Say how a new version's signature differs from this one; empty where it does not."""
        found = []
        if self.task != other.task:
            found.append(f"its task is {other.task!r}, not {self.task!r}")
        lost = [name for name in self.classes if name not in other.classes]
        new = [name for name in other.classes if name not in self.classes]
        if lost:
            found.append(f"it lacks {_some(lost)}")
        if new:
            found.append(f"it adds {_some(new)}")
        if not (lost or new) and self.classes != other.classes:
            found.append("its classes stand in another order")
        return found


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version of a model.

    Args:
        model, version: its name and number.
        digest: address of its Bundle in the store.
        size_bytes: of the Bundle.
        signature: see `Signature`.
        bundle_id, family: as its manifest says.
        note: what was said when it was added.
        added_utc, added_by: when and by whom.
        aliases: that point at it.
    """

    model: str
    version: int
    digest: str
    size_bytes: int
    signature: Signature
    bundle_id: str
    family: str
    note: str
    added_utc: str
    added_by: str
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One model: its versions, oldest first, and which of them answers.

    Args:
        name: how requests call it.
        tenant: whose it is; "" where everybody may ask for it.
        versions: by number.
        aliases: version by alias.
        canary_share: of keys that the canary answers; 0 without one.
        previous: what `rollback` would bring back.
    """

    name: str
    tenant: str
    versions: tuple[VersionRecord, ...]
    aliases: dict[Alias, int]
    canary_share: float = 0.0
    previous: int | None = None

    def find(self, version: int) -> VersionRecord | None:
        """Return one version, None where there is none of this number."""
        return next((v for v in self.versions if v.version == version), None)


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history: who did what to which version, when and why.

    Args:
        number: 1, 2, 3 ... over all models.
        what: see `What`; "refused" is a promotion, canary or shadow that did not pass its checks.
        before: the version that the alias pointed at.
    """

    number: int
    at_utc: str
    who: str
    what: What
    model: str
    version: int | None
    before: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did.

    Args:
        record: the version.
        new: whether it was added now; False where the same Bundle was a version already.
    """

    record: VersionRecord
    new: bool


def production_before(changes: Iterable[Change], existing: frozenset[int]) -> int | None:
    """Return the version that a rollback brings back, None where there is none.

    A rollback undoes the newest promotion that is not undone yet, so two rollbacks go back two.

    Args:
        changes: of one model, oldest first.
        existing: versions that were not removed.

    Example:
        >>> def change(what, version):
        ...     return Change(1, "", "", what, "m", version, None, "")
        >>> steps = [change("promote", 1), change("promote", 2), change("promote", 3)]
        >>> production_before(steps, frozenset({1, 2, 3}))
        2
        >>> production_before([*steps, change("rollback", 2)], frozenset({1, 2, 3}))
        1
    """
    stack: list[int] = []
    for change in changes:
        if change.what == "promote":
            stack = [v for v in stack if v != change.version]
            stack.append(change.version or NONE)
        elif change.what == "withdraw":
            stack.append(NONE)
        elif change.what == "rollback":
            while stack and stack[-1] != change.version:
                stack.pop()
    return next((v for v in reversed(stack[:-1]) if v in existing), None)


def entry_of(model: ModelRecord, place: Callable[[str], Path]) -> Entry:
    """Return what a service needs to know of a model that has a version in production.

    Args:
        model: the model.
        place: gives a Bundle's folder by its digest.
    """
    wanted = {*model.aliases.values(), model.previous}
    canary, shadow = model.aliases.get("canary"), model.aliases.get("shadow")
    return Entry(
        name=model.name,
        versions={
            str(v.version): Version(model.name, str(v.version), place(v.digest), model.tenant)
            for v in model.versions
            if v.version in wanted
        },
        production=str(model.aliases["production"]),
        canary=None if canary is None else (str(canary), model.canary_share),
        shadow=None if shadow is None else str(shadow),
        tenant=model.tenant,
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
