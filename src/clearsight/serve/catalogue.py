"""What can be served: models by name, their versions, and which version answers whom."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clearsight.core.bundle import open_bundle
from clearsight.serve.errors import StartError

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model: a Bundle on disk.

    Args:
        name: the model it belongs to.
        version: what it is called: "1", "2", ... of a registry, or a Bundle's id.
        path: the Bundle's folder, once `Catalogue.folder` was asked for it.
        tenant: whose it is; "" where everybody may ask for it.
    """

    name: str
    version: str
    path: Path
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model and which of its versions answers.

    Args:
        name: how requests call it.
        versions: every version that a request may ask for.
        production: the version that answers when a request names none.
        canary: a version and the share of keys, 0 to 1, that it answers instead.
        shadow: a version that sees requests beside the one that answers; its answers are only
            compared.
        tenant: whose it is; "" where everybody may ask for it.
    """

    name: str
    versions: dict[str, Version]
    production: str
    canary: tuple[str, float] | None = None
    shadow: str | None = None
    tenant: str = ""

    def wanted(self) -> list[str]:
        """Return the versions that requests without a version can reach, production first."""
        canary = self.canary[0] if self.canary else None
        return list(dict.fromkeys(v for v in (self.production, canary, self.shadow) if v))


class Catalogue(Protocol):
    """Says what is served, and notices changes."""

    def revision(self) -> int:
        """Return a number that changes whenever `entries` would; cheap, asked often."""

    def entries(self) -> dict[str, Entry]:
        """Return every model by name."""

    def folder(self, version: Version) -> Path:
        """Return a version's Bundle folder, fetched to this machine where it was not here yet.

        Raises:
            StorageError: it cannot be fetched.
            BundleError: it is not what was added.
        """


class Folders:
    """A catalogue of RUN or Bundle folders: one version each, named by the Bundle's id.

    Args:
        paths: the folders; each is served under its own name.

    Raises:
        StartError: two that would have the same name.
        BundleError: a folder that is no Bundle.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._entries: dict[str, Entry] = {}
        for path in paths:
            name = model_name(path)
            if name in self._entries:
                raise StartError(
                    f"Two models would be called {name!r}. Rename one of the folders: a model is "
                    "served under its folder's name."
                )
            version = open_bundle(path).manifest.id
            self._entries[name] = Entry(name, {version: Version(name, version, path)}, version)

    def revision(self) -> int:
        """Return 0: the folders of a command line do not change."""
        return 0

    def entries(self) -> dict[str, Entry]:
        """Return every model by name."""
        return self._entries

    def folder(self, version: Version) -> Path:
        """Return the version's folder."""
        return version.path


def model_name(path: Path) -> str:
    """Return the name a RUN or Bundle folder is served under.

    Example:
        >>> model_name(Path("runs/My Shoes (2)"))
        'my-shoes-2'
    """
    resolved = path.resolve()
    name = resolved.parent.name if resolved.name == "bundle" else resolved.name
    plain = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-._")
    return plain[:64] or "recognizer"


def check_name(name: str) -> None:
    """Refuse a name that no request could carry.

    Raises:
        StartError: the name.
    """
    if not MODEL_NAME.fullmatch(name):
        raise StartError(
            f"A model cannot be called {name!r}: 1 to 64 of a-z, 0-9, '_', '.', '-', "
            "starting with a letter or digit."
        )


class Together:
    """Several catalogues as one; the first that knows a name answers for it.

    Args:
        catalogues: at least one.
    """

    def __init__(self, catalogues: Sequence[Catalogue]) -> None:
        self._catalogues = list(catalogues)
        self._owner: dict[str, Catalogue] = {}

    def revision(self) -> int:
        """Return a number that changes with any of them."""
        return hash(tuple(catalogue.revision() for catalogue in self._catalogues))

    def entries(self) -> dict[str, Entry]:
        """Return every model by name."""
        entries: dict[str, Entry] = {}
        owner: dict[str, Catalogue] = {}
        for catalogue in self._catalogues:
            for name, entry in catalogue.entries().items():
                entries.setdefault(name, entry)
                owner.setdefault(name, catalogue)
        self._owner = owner
        return entries

    def folder(self, version: Version) -> Path:
        """Return a version's Bundle folder, from the catalogue that has it."""
        return self._owner[version.name].folder(version)
