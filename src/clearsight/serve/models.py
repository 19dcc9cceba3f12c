"""The models of one service: which version answers a call, and swapping versions under load."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from clearsight.core.bundle import Bundle, Manifest
from clearsight.core.errors import ClearsightError
from clearsight.core.nouns import Predictor, Preprocessing, Task
from clearsight.serve import log
from clearsight.serve.access.caller import Caller
from clearsight.serve.catalogue import Catalogue, Entry, Version, check_name
from clearsight.serve.errors import (
    ImpossibleRequestError,
    StartError,
    UnknownModelError,
    UnknownVersionError,
)
from clearsight.serve.repeating import Repeating

WATCH_S = 0.25  # between two looks at the catalogue's revision
UNKNOWN_LOAD_S = 0.5  # what a load is taken to last before one was measured
NOTHING = (
    "There is no model to serve. Give at least one RUN or Bundle folder, or promote a version in "
    "the registry: clearsight registry add NAME RUN, clearsight registry promote NAME 1."
)
ALIASES = ("production", "canary", "shadow")


@dataclass(slots=True, eq=False)
class Model:
    """One version of a model, loaded or not; the fair queue's lock guards what changes.

    Args:
        name: how requests call it.
        version: which one of its versions this is.
        predictor: opened and thread-safe; None while it is not in memory.
        tenant: whose it is; "" where everybody may ask for it.
        source: finds and verifies its Bundle; None for one that is always loaded.

    Attributes:
        batch: most pictures that run together.
        run_s: running mean of seconds a picture, 0 before the first.
        memory_bytes: what it takes while loaded, measured; a guess before the first load.
        load_s: seconds its last load took; 0 before the first.
        users: workers that use it now.
        used: when it was last used, on the monotonic clock.
        served: pictures since it was loaded.
        checked: its golden pictures got the right scores here.
        problem: why it could not be loaded, for operators; "" when nothing is wrong.
    """

    name: str
    version: str
    predictor: Predictor | None = None
    tenant: str = ""
    source: Callable[[], Bundle] | None = None
    variant: str = ""
    engine: str = ""
    batch: int = 1
    run_s: float = 0.0
    memory_bytes: int = 0
    load_s: float = 0.0
    users: int = 0
    used: float = field(default_factory=time.monotonic)
    served: int = 0
    problem: str = ""
    checked: bool = False
    _bundle: Bundle | None = None

    @property
    def loaded(self) -> bool:
        """Is it in memory."""
        return self.predictor is not None

    def bundle(self) -> Bundle:
        """Return its Bundle, verified when first asked for.

        Raises:
            BundleError, StorageError: it cannot be had or trusted.
        """
        assert self.source is not None
        if self._bundle is None:
            self._bundle = self.source()
        return self._bundle

    @property
    def classes(self) -> Sequence[str]:
        """Class names, in the order of the score columns."""
        return self._facts.classes

    @property
    def task(self) -> Task:
        """What a label is."""
        return self._facts.task

    @property
    def preprocessing(self) -> Preprocessing:
        """Size and channels of the model's input."""
        return self._facts.preprocessing

    def load_wait_s(self) -> float:
        """Return the seconds a picture waits for the model itself: 0 when it is loaded."""
        return 0.0 if self.loaded else self.load_s or UNKNOWN_LOAD_S

    @property
    def _facts(self) -> Predictor | Manifest:
        if self.source is None:
            assert self.predictor is not None
            return self.predictor
        return self.bundle().manifest


class Keeper(Protocol):
    """Brings models into memory and lets them go; `loading.Loader`, or one that keeps all."""

    def load(self, model: Model) -> None:
        """Return when the model is in memory, checked and warm."""

    def has_room(self, model: Model) -> bool:
        """Say whether it fits beside what is loaded already."""

    def retire(self, model: Model) -> None:
        """Let a model go for good, when its last picture is answered."""


class Models:
    """Finds the model of a call; follows a catalogue without a request noticing.

    Args:
        catalogue: what is served.
        new_model: makes the Model of a version, not loaded yet.
        keeper: brings models into memory.

    Raises:
        StartError: nothing to serve, or a name that cannot be served.
        BundleError: a version that shall answer cannot be opened.
    """

    def __init__(
        self, catalogue: Catalogue, new_model: Callable[[Version], Model], keeper: Keeper
    ) -> None:
        self._catalogue, self._new, self._keeper = catalogue, new_model, keeper
        self._revision = catalogue.revision()
        self._served: dict[str, _Served] = {}
        self._refreshing = threading.Lock()
        self._watcher: Repeating | None = None
        self.problems: dict[str, str] = {}
        for name, entry in catalogue.entries().items():
            check_name(name)
            self._served[name] = self._prepared(entry, {})
        if not self._served:
            raise StartError(NOTHING)
        self._default = next(iter(self._served)) if len(self._served) == 1 else None

    def watch(self) -> None:
        """Follow the catalogue from now on, in a thread of its own."""
        self._watcher = Repeating(
            self.refresh, WATCH_S, "clearsight-watch", "the catalogue cannot be read"
        )

    def close(self) -> None:
        """Stop following."""
        if self._watcher is not None:
            self._watcher.close()

    def entries(self, caller: Caller) -> list[Entry]:
        """Return what this caller may see, by name."""
        return [s.entry for _, s in sorted(self._served.items()) if _may_see(s.entry, caller)]

    def names(self) -> list[str]:
        """Return the name of every model, whoever may see it."""
        return sorted(self._served)

    def every_entry(self) -> list[Entry]:
        """Return every model's entry, whoever may see it."""
        return [served.entry for served in self._served.values()]

    def every(self) -> list[Model]:
        """Return every version that is known."""
        return [model for served in self._served.values() for model in served.models.values()]

    def versions(self, name: str) -> Mapping[str, Model]:
        """Return the versions of a model by name of the version."""
        return self._served[name].models

    def resolve(
        self, name: str | None, version: str | None, caller: Caller, request_id: str = ""
    ) -> Model:
        """Return the model that answers.

        Args:
            name: of the model; may be None where only one is served.
            version: a version or an alias; None takes production, or the canary for its share of
                keys (of requests, where there are no keys).
            caller: who asks.
            request_id: splits requests without a key between production and canary.

        Raises:
            ImpossibleRequestError: no name was given and several models are served.
            UnknownModelError: no such model, or another tenant's.
            UnknownVersionError: no such version.
        """
        served = self._find(name, caller)
        entry = served.entry
        if version is None:
            canary = entry.canary
            if canary and _falls_into(canary[1], entry.name, caller.id or request_id):
                return served.models[canary[0]]
            return served.models[entry.production]
        if version in ALIASES:
            chosen = {
                "production": entry.production,
                "canary": entry.canary[0] if entry.canary else None,
                "shadow": entry.shadow,
            }[version]
            version = chosen or version
        if version not in served.models:
            raise UnknownVersionError(entry.name, version, served.models)
        return served.models[version]

    def shadow(self, model: Model) -> Model | None:
        """Return the version that looks on while `model` answers as production, None without."""
        served = self._served.get(model.name)
        if served is None or not served.entry.shadow or served.entry.production != model.version:
            return None
        return served.models[served.entry.shadow]

    def refresh(self) -> bool:
        """Follow a changed catalogue: load what is new beside the old, then swap at once.

        A model whose new version cannot be loaded keeps answering as before; `problems` says why.

        Returns:
            Whether anything had changed.
        """
        with self._refreshing:
            return self._refresh()

    def _refresh(self) -> bool:
        revision = self._catalogue.revision()
        if revision == self._revision:
            return False
        entries = self._catalogue.entries()
        served, problems = {}, {}
        for name, entry in entries.items():
            old = self._served.get(name)
            try:
                check_name(name)
                served[name] = self._prepared(entry, old.models if old else {})
            except ClearsightError as error:
                problems[name] = str(error)
                log.failure("a version cannot be served", error, model=name)
                if old is not None:
                    served[name] = old
        before = self.every()
        self._served, self.problems, self._revision = served, problems, revision
        self._default = next(iter(served)) if len(served) == 1 else None
        kept = set(map(id, self.every()))
        for model in before:
            if id(model) not in kept:
                self._keeper.retire(model)
        return True

    def _prepared(self, entry: Entry, old: Mapping[str, Model]) -> _Served:
        models = {}
        for key, version in entry.versions.items():
            models[key] = old[key] if key in old else self._new(version)
        for key in entry.wanted():
            if key not in models:
                raise StartError(f"The model {entry.name!r} has no version {key!r} to answer with.")
            if not models[key].loaded and (old or self._keeper.has_room(models[key])):
                self._keeper.load(models[key])
        return _Served(entry, models)

    def _find(self, name: str | None, caller: Caller) -> _Served:
        served = self._served.get(self._default or "" if name is None else name)
        if served is not None and _may_see(served.entry, caller):
            return served
        seen = [entry.name for entry in self.entries(caller)]
        if name is not None:
            raise UnknownModelError(name, seen)
        if len(seen) == 1:
            return self._served[seen[0]]
        raise ImpossibleRequestError(
            "Several models are served: say which one with ?model=NAME. "
            f"Allowed: {', '.join(seen)}."
        )


@dataclass(frozen=True, slots=True)
class _Served:
    entry: Entry
    models: Mapping[str, Model]


class Fixed:
    """A catalogue of models that are loaded already and never change.

    Args:
        models: their names must differ and be servable.

    Raises:
        StartError: two of one name.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.models: dict[str, Model] = {}
        for model in models:
            if model.name in self.models:
                raise StartError(
                    f"Two models are called {model.name!r}. Rename one of the folders."
                )
            self.models[model.name] = model

    def revision(self) -> int:
        """Return 0."""
        return 0

    def entries(self) -> dict[str, Entry]:
        """Return every model by name."""
        return {
            m.name: Entry(m.name, {m.version: _version(m)}, m.version, tenant=m.tenant)
            for m in self.models.values()
        }

    def folder(self, version: Version) -> Path:
        """Return nothing of use: these models come from no folder."""
        return version.path


def fixed(models: Sequence[Model]) -> Models:
    """Return the Models of what is loaded already."""
    catalogue = Fixed(models)
    return Models(catalogue, lambda version: catalogue.models[version.name], _KeepsAll())


class _KeepsAll:
    def load(self, model: Model) -> None:
        pass

    def has_room(self, model: Model) -> bool:
        return True

    def retire(self, model: Model) -> None:
        pass


def _version(model: Model) -> Version:
    return Version(model.name, model.version, Path(), model.tenant)


def _may_see(entry: Entry, caller: Caller) -> bool:
    return entry.tenant in ("", caller.tenant)


def _falls_into(share: float, name: str, key: str) -> bool:
    """Say whether a key belongs to a canary's share; the same key always gets the same answer."""
    return zlib.crc32(f"{name}\0{key}".encode()) < share * 2**32
