"""The folder is the registry: a file's name is its key, and adding a file adds the key."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clearsight.core.errors import (
    ClearsightError,
    DuplicateKeyError,
    MissingExtraError,
    UnknownKeyError,
)


@dataclass(frozen=True)
class Registry:
    """Looks implementations up by the name of the file they stand in.

    `linear_svm.py` in the folder is the key `linear-svm`; it must define `LinearSvm` (a class)
    or `linear_svm` (a function). Files that begin with an underscore are no keys. Third parties
    add keys through the entry-point group `clearsight.<last two parts of the package>`.

    Args:
        package: the dotted folder, for example "clearsight.learn.families".
        kind: the word for messages, for example "model family".
        extra: the extra named when an implementation's import fails.
        not_keys: keys of the folder's files that are the room's own and no implementations.

    Example:
        >>> Registry("clearsight.evaluate.metrics", "metric").keys()  # doctest: +ELLIPSIS
        ['accuracy', ...]
    """

    package: str
    kind: str
    extra: str = "all"
    not_keys: frozenset[str] = frozenset()

    def keys(self) -> list[str]:
        """Return every key, sorted, importing no implementation.

        Raises:
            DuplicateKeyError: an entry point claims a key that the folder holds.
        """
        return sorted({*self._files, *self._entry_points})

    def load(self, key: str) -> Any:
        """Import the implementation of one key and return it.

        Raises:
            UnknownKeyError: no file and no entry point has this key.
            MissingExtraError: the implementation needs a package that is not installed.
        """
        if key not in self.keys():
            raise UnknownKeyError(self.kind, key, self.keys())
        try:
            if key in self._entry_points:
                return self._entry_points[key].load()
            module = importlib.import_module(f"{self.package}.{self._files[key]}")
        except ModuleNotFoundError as error:
            missing = (error.name or "").split(".")[0]
            if missing == "clearsight" or not missing:
                raise
            raise MissingExtraError(missing, self.extra, f"The {self.kind} {key!r}") from error
        return self._pick(module, self._files[key])

    def _pick(self, module: Any, stem: str) -> Any:
        for name in (camel(stem), stem):
            if hasattr(module, name):
                return getattr(module, name)
        raise ClearsightError(
            f"{module.__file__} must define the class {camel(stem)!r} or the function {stem!r}."
        )

    @cached_property
    def _files(self) -> dict[str, str]:
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ClearsightError(f"{self.package!r} is not a package, so it holds no keys.")
        stems = [item.name for item in pkgutil.iter_modules(spec.submodule_search_locations)]
        keys = {stem.replace("_", "-"): stem for stem in stems if not stem.startswith("_")}
        return {key: stem for key, stem in keys.items() if key not in self.not_keys}

    @cached_property
    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        group = "clearsight." + ".".join(self.package.split(".")[-2:])
        found: dict[str, importlib.metadata.EntryPoint] = {}
        for point in importlib.metadata.entry_points(group=group):
            if point.name in self._files or point.name in found:
                raise DuplicateKeyError(
                    f"Two implementations claim the {self.kind} {point.name!r}: "
                    f"{point.value} and one already there. Remove or rename one."
                )
            found[point.name] = point
        return found

    def folder(self) -> Path:
        """Return the folder that is the registry."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None
        assert spec.submodule_search_locations
        return Path(next(iter(spec.submodule_search_locations)))


def camel(stem: str) -> str:
    """Turn a file stem into its class name.

    Example:
        >>> camel("linear_svm")
        'LinearSvm'
    """
    return "".join(part.capitalize() for part in stem.split("_"))
