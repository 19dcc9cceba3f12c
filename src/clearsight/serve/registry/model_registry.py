"""The registry: numbered versions of models, and aliases that move atomically."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from clearsight.core.bundle import open_bundle
from clearsight.core.errors import BundleError, GateError, UnknownKeyError, UsageError, nearest
from clearsight.serve.access.audit import AUDIT
from clearsight.serve.catalogue import MODEL_NAME, Entry, Version
from clearsight.serve.registry import messages, promotion, rows
from clearsight.serve.registry.records import (
    ALIASES,
    Added,
    Alias,
    Change,
    ModelRecord,
    VersionRecord,
    What,
    entry_of,
)
from clearsight.serve.registry.tables import OWNER, SCHEMA
from clearsight.serve.store.blobs import GRACE_S, Blobs, Collected
from clearsight.serve.store.database import Database


class ModelRegistry:
    """Versions of models in a store; implements `catalogue.Catalogue`. Thread-safe.

    Processes may share one database and one store of Bundles: what one of them promotes, the
    services of all see at their next look at `revision`.

    Args:
        database: keeps the rows.
        blobs: keeps the Bundles.
        check: what a version has to pass before an alias points at it; `promotion.check` where
            None.

    Raises:
        StorageError: the store was written by a newer clearsight, or cannot be opened.

    Example:
        >>> registry = ModelRegistry(database, blobs)                       # doctest: +SKIP
        >>> number = registry.add("shoes", Path("runs/7"), who="ann").record.version
        ... # doctest: +SKIP
        >>> registry.promote("shoes", number, who="ann", why="more shoes")  # doctest: +SKIP
    """

    def __init__(
        self, database: Database, blobs: Blobs, check: promotion.Check | None = None
    ) -> None:
        self.database, self.blobs, self._check = database, blobs, check or promotion.check
        database.prepare(SCHEMA)
        database.prepare(AUDIT)
        self._lock = threading.Lock()
        self._seen: tuple[int, dict[str, Entry]] | None = None

    # -- what there is

    def models(self) -> list[ModelRecord]:
        """Return every model, by name."""
        with self.database.reading() as connection:
            return list(rows.read_models(connection).values())

    def model(self, name: str) -> ModelRecord:
        """Return one model.

        Raises:
            UnknownKeyError: there is none of this name.
        """
        with self.database.reading() as connection:
            return self._model(connection, name)

    def history(self, name: str | None = None, limit: int = 100) -> list[Change]:
        """Return the newest changes, newest first.

        Args:
            name: of one model; None for all, removed ones included.
            limit: how many at most.
        """
        with self.database.reading() as connection:
            return rows.read_history(connection, name, limit)

    # -- Catalogue

    def revision(self) -> int:
        """Return a number that grows with each change of the registry; one small query."""
        return self.database.revision(OWNER)

    def entries(self) -> dict[str, Entry]:
        """Return every model that has a version in production.

        Its versions are those that an alias points at, and the one a rollback would bring back:
        what a service has to keep at hand, however many versions there are.
        """
        revision = self.revision()
        with self._lock:
            if self._seen is None or self._seen[0] != revision:
                found = {
                    m.name: entry_of(m, self.blobs.place)
                    for m in self.models()
                    if "production" in m.aliases
                }
                self._seen = revision, found
            return self._seen[1]

    def folder(self, version: Version) -> Path:
        """Return a version's Bundle folder, fetched where the Bundles are kept elsewhere.

        Raises:
            BundleError: it is not in the store, or not what was added.
            StorageError: it cannot be fetched.
        """
        return self.blobs.folder(version.path.name)

    # -- changes

    def add(self, name: str, bundle: Path, *, who: str, note: str = "", tenant: str = "") -> Added:
        """Copy a Bundle into the store and give it the model's next version number.

        Nothing answers with it before it is promoted. A Bundle that is a version of this model
        already keeps its number, so that an interrupted `add` can simply be repeated.

        Args:
            name: of the model; made where there is none: 1 to 64 of a-z, 0-9, '_', '.', '-'.
            bundle: a RUN or Bundle folder.
            who: the person or key that adds it.
            note: what there is to say of it.
            tenant: whose the model is; "" where everybody may ask for it.

        Raises:
            BundleError: no Bundle, or one that was changed.
            StorageError: no room in the quota or on the disk.
            UsageError: a name that no request could carry, or another tenant's model.
        """
        if not MODEL_NAME.fullmatch(name):
            raise UsageError(
                f"A model cannot be called {name!r}: 1 to 64 of a-z, 0-9, '_', '.', '-', starting "
                "with a letter or digit."
            )
        said = messages.said(who, note=note, tenant=tenant, why=note)
        opened = open_bundle(bundle)
        stored = self.blobs.put(opened)
        with self.database.transaction(OWNER) as connection:
            known = rows.read_models(connection, name).get(name)
            if known is not None and known.tenant != tenant:
                raise UsageError(
                    f"The model {name!r} belongs to {known.tenant or 'everybody'!r}, not to "
                    f"{tenant or 'everybody'!r}. Give --tenant {known.tenant!r} or another name."
                )
            same = [v for v in known.versions if v.digest == stored.digest] if known else []
            if same:
                return Added(same[0], new=False)
            if not self.blobs.has(stored.digest):  # collected between the copy and now
                raise BundleError("The store was cleaned at the same moment. Add it again.")
            if known is None:
                rows.add_model(connection, name, tenant)
            number = rows.add_version(connection, name, stored, opened.manifest, said)
            rows.log(connection, "add", name, number, None, said)
            record = rows.find_version(self._model(connection, name), number)
        return Added(record, new=True)

    def promote(
        self,
        name: str,
        version: int,
        *,
        who: str,
        why: str = "",
        bounds: promotion.Bounds = promotion.DEFAULT,
    ) -> promotion.Report:
        """Let a version answer, once it has passed its checks; all services follow.

        A canary or shadow of the same version ends with it.

        Args:
            name, version: which.
            who, why: for the history.
            bounds: what it has to keep; see `promotion.Bounds`.

        Returns:
            What was measured.

        Raises:
            GateError: a check failed; the alias is unchanged and the history says why.
            UnknownKeyError: no such model or version.
            UsageError: production was changed by somebody else meanwhile.
        """
        return self._point("production", name, version, 1.0, messages.said(who, why=why), bounds)

    def canary(
        self,
        name: str,
        version: int,
        share: float,
        *,
        who: str,
        why: str = "",
        bounds: promotion.Bounds = promotion.DEFAULT,
    ) -> promotion.Report:
        """Let a version answer a share of the keys; a key always gets the same version.

        Args:
            share: above 0 and below 1.
            name, version, who, why, bounds: see `promote`.

        Raises:
            UsageError: a share out of range, or no version in production.
            GateError, UnknownKeyError: see `promote`.
        """
        if not 0 < share < 1:
            raise UsageError(
                f"A canary's share is above 0 and below 1, got {share:g}. To give it every key, "
                f"promote it; to give it none: clearsight registry stop {name} canary"
            )
        return self._point("canary", name, version, share, messages.said(who, why=why), bounds)

    def shadow(
        self,
        name: str,
        version: int,
        *,
        who: str,
        why: str = "",
        bounds: promotion.Bounds = promotion.DEFAULT,
    ) -> promotion.Report:
        """Let a version see requests beside production; its answers are only compared.

        Args:
            name, version, who, why, bounds: see `promote`.

        Raises:
            UsageError: no version in production.
            GateError, UnknownKeyError: see `promote`.
        """
        return self._point("shadow", name, version, 1.0, messages.said(who, why=why), bounds)

    def stop(self, name: str, alias: str, *, who: str, why: str = "") -> int:
        """End a canary or shadow and return the version it had.

        Args:
            name: of the model.
            alias: "canary" or "shadow".
            who, why: for the history.

        Raises:
            UsageError: there is none, or another alias was meant.
            UnknownKeyError: no such model.
        """
        if alias == "production":
            raise UsageError("Production does not stop: promote another version, or withdraw it.")
        if alias not in ALIASES:
            raise UsageError(f"Unknown alias {alias!r}.{nearest(alias, ALIASES[1:])}")
        with self.database.transaction(OWNER) as connection:
            before = self._model(connection, name).aliases.get(alias)
            if before is None:
                raise UsageError(f"The model {name!r} has no {alias}; nothing was changed.")
            rows.drop(connection, name, alias)
            rows.log(connection, "stop", name, None, before, messages.said(who, why=why or alias))
        return before

    def rollback(self, name: str, *, who: str, why: str = "") -> int:
        """Let the version answer that was in production before, and return it.

        Only the Bundle's bytes are verified first: it answered before, and it may be urgent.

        Raises:
            UsageError: there is nothing to go back to.
            BundleError: the Bundle of that version is damaged; nothing was changed.
            UnknownKeyError: no such model.
        """
        model = self.model(name)
        if model.previous is None:
            raise UsageError(
                f"The model {name!r} has no earlier version in production to go back to. Promote "
                f"one: clearsight registry promote {name} VERSION"
            )
        self.blobs.verify(rows.find_version(model, model.previous).digest)
        with self.database.transaction(OWNER) as connection:
            now = self._model(connection, name)
            if (now.previous, now.aliases) != (model.previous, model.aliases):
                raise UsageError(messages.meanwhile(name))
            before = now.aliases.get("production")
            rows.point(connection, name, "production", model.previous, 1.0)
            rows.end_others(connection, now, model.previous)
            rows.log(
                connection, "rollback", name, model.previous, before, messages.said(who, why=why)
            )
        return model.previous

    def withdraw(self, name: str, *, who: str, why: str = "") -> None:
        """Take a model out of service: no alias points at any version of it afterwards.

        Raises:
            UnknownKeyError: no such model.
        """
        with self.database.transaction(OWNER) as connection:
            before = self._model(connection, name).aliases.get("production")
            rows.drop(connection, name, *ALIASES)
            rows.log(connection, "withdraw", name, None, before, messages.said(who, why=why))

    def remove(self, name: str, version: int | None = None, *, who: str, why: str = "") -> None:
        """Remove a version that no alias points at, or a whole model that does not answer.

        The Bundle leaves the store with the next garbage collection.

        Raises:
            UsageError: an alias points at it.
            UnknownKeyError: no such model or version.
        """
        with self.database.transaction(OWNER) as connection:
            model = self._model(connection, name)
            doomed = model.versions if version is None else (rows.find_version(model, version),)
            for record in doomed:
                if record.aliases:
                    raise UsageError(messages.in_use(record))
                rows.remove_version(connection, name, record.version)
            if version is None:
                rows.remove_model(connection, name)
            rows.log(connection, "remove", name, version, None, messages.said(who, why=why))

    def collect(self, grace_s: float = GRACE_S) -> Collected:
        """Remove Bundles from the store that no version refers to; see `Blobs.collect`.

        No version can be added meanwhile, so nothing that is referred to is ever removed.
        """
        with self.database.transaction(OWNER) as connection:
            return self.blobs.collect(rows.digests(connection), grace_s)

    # -- how

    def _point(
        self,
        alias: Alias,
        name: str,
        version: int,
        share: float,
        said: dict[str, str],
        bounds: promotion.Bounds,
    ) -> promotion.Report:
        model = self.model(name)
        record = rows.find_version(model, version)
        production = model.aliases.get("production")
        if alias != "production" and production in (None, version):
            raise UsageError(
                f"A {alias} stands beside another version in production; the model {name!r} has "
                f"{'none' if production is None else f'{version} itself'} there."
            )
        report = self._examine(model, record, bounds)
        if report.refusals:
            with self.database.transaction(OWNER) as connection:
                reasons = {**said, "why": f"{alias}: {report.reasons()}"[: messages.TEXT_LIMIT]}
                rows.log(connection, "refused", name, version, production, reasons)
            raise GateError(
                f"Version {version} of {name!r} cannot be {alias}: {report.reasons()} "
                f"{messages.unchanged(name, alias, model)}"
            )
        with self.database.transaction(OWNER) as connection:
            now = self._model(connection, name)
            if now.aliases.get("production") != production or now.find(version) is None:
                raise UsageError(messages.meanwhile(name))
            rows.point(connection, name, alias, version, share)
            if alias == "production":
                rows.end_others(connection, now, version)
            what: What = "promote" if alias == "production" else alias
            rows.log(connection, what, name, version, now.aliases.get(alias), said)
        return report

    def _examine(
        self, model: ModelRecord, record: VersionRecord, bounds: promotion.Bounds
    ) -> promotion.Report:
        incumbent = model.find(model.aliases.get("production", 0))
        if incumbent is not None and incumbent.version == record.version:
            incumbent = None
        notes: Sequence[str] = ()
        try:
            candidate = self.blobs.folder(record.digest)
        except BundleError as error:
            return promotion.Report((promotion.Refusal("corrupt", str(error)),))
        beside = None
        if incumbent is not None:
            try:
                beside = self.blobs.folder(incumbent.digest)
            except BundleError as error:
                notes = (f"The version in production could not be measured: {error}",)
        signatures = (record.signature, incumbent.signature if incumbent else None)
        report = self._check(candidate, beside, signatures, bounds)
        return replace(report, notes=(*report.notes, *notes))

    def _model(self, connection: Connection, name: str) -> ModelRecord:
        found = rows.read_models(connection, name)
        if name not in found:
            raise UnknownKeyError("model", name, rows.read_models(connection))
        return found[name]
