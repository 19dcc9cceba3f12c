"""The Bundle: a directory of plain files that joins training and everything after it.

manifest.json is written in one canonical form and carries a digest of itself and the SHA-256 of
every other file, so a change of any byte anywhere is found before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from clearsight.core.config import Config
from clearsight.core.conformal import Conformal
from clearsight.core.errors import BundleError, ConfigError, StorageError
from clearsight.core.files import new_folder, sha256_file, storage_errors
from clearsight.core.nouns import Preprocessing, Task
from clearsight.core.reference import Reference
from clearsight.core.rejection import Rejection
from clearsight.core.variants import Variant
from clearsight.core.vector_scaling import VectorScaling

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MODEL = "model.onnx"
WEIGHTS = "model.safetensors"
CARD = "card.md"
GOLDEN = "golden"
GOLDEN_SCORES = "golden/scores.json"
MANIFEST_LIMIT_BYTES = 64 * 1024 * 1024
REPLACED_AT_MOST = 5
"""How often a Bundle may be replaced while it is opened before that is called damage."""


class FileRecord(Config):
    """Hash and size of one file of a Bundle."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class WeightLicence(Config):
    """Where pre-trained weights came from and under which licence."""

    name: str
    licence: str
    source: str


class Manifest(Config):
    """What a Bundle says of itself; see DESIGN "The Bundle".

    `rejection_threshold` bounds the best score; `rejection` is what training fits since it knows
    other measures of familiarity.
    """

    format_version: Literal[1] = 1
    id: str = Field(pattern="^[0-9a-f]{16,64}$")
    created_utc: str
    task: Task = "single-label"
    classes: tuple[str, ...] = Field(min_length=2)
    family: str
    preprocessing: Preprocessing
    temperature: float = Field(gt=0)
    vector: VectorScaling | None = None
    rejection_threshold: float | None = Field(default=None, ge=0, le=1)
    rejection: Rejection | None = None
    conformal: Conformal | None = None
    outputs: tuple[str, ...] = ("logits",)
    steps: bool = False
    metrics: dict[str, Any]
    data_fingerprint: str
    seed: int
    config: dict[str, Any]
    versions: dict[str, str]
    weight_licences: tuple[WeightLicence, ...] = ()
    reference: Reference | None = None
    variants: dict[str, Variant] = Field(default_factory=dict)
    files: dict[str, FileRecord]

    @field_validator("classes", "outputs")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or "" in names:
            raise ValueError("names must be distinct and not empty")
        return names

    @model_validator(mode="after")
    def _fits_classes(self) -> Manifest:
        k = len(self.classes)
        if self.vector is not None and len(self.vector.weights) != k:
            raise ValueError("vector scaling must hold one weight a class")
        bounds = self.conformal.thresholds.values() if self.conformal else ()
        wanted = k if self.conformal and self.conformal.method == "class-conditional" else 1
        if any(len(bound) != wanted for bound in bounds):
            raise ValueError(f"conformal thresholds must hold {wanted} numbers a level")
        if self.task == "multi-label" and (self.vector or self.conformal or self.rejection):
            raise ValueError("multi-label models have no vector scaling, sets or rejection")
        return self


@dataclass(frozen=True)
class Bundle:
    """A verified Bundle on disk.

    Args:
        path: its directory.
        manifest: its parsed manifest.
    """

    path: Path
    manifest: Manifest

    def read(self, name: str) -> bytes:
        """Return the bytes of one listed file, hashed again as they are read.

        Raises:
            BundleError: not a file of this Bundle, or changed since it was opened.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise BundleError(f"{self.path} holds no {name!r}.")
        with storage_errors(self.path / name), open(self.path / name, "rb") as stream:
            content = stream.read(record.size + 1)
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise BundleError(_changed(self.path, name))
        return content


def write_bundle(
    path: Path,
    about: Mapping[str, Any],
    files: Mapping[str, bytes],
    gate: Callable[[Bundle], None],
) -> Bundle:
    """Write a Bundle crash-safely; it appears under its name only when `gate` accepts it.

    Args:
        path: where it shall stand; must not exist.
        about: every Manifest field but `files` and `format_version`.
        files: content by relative POSIX path.
        gate: receives the finished Bundle under a temporary name; raises to refuse it.

    Raises:
        GateError: the gate refused; nothing is left on disk.
        StorageError: an I/O failure; nothing is left on disk.
    """
    records = {
        name: FileRecord(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        for name, content in sorted(files.items())
    }
    manifest = Manifest.parse({**about, "files": {k: v.model_dump() for k, v in records.items()}})

    def check(staged: Path) -> None:
        gate(open_bundle(staged))

    with new_folder(path, before_rename=check) as staged:
        for name, content in files.items():
            target = staged / _safe(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        (staged / MANIFEST).write_bytes(canonical(manifest))
    return Bundle(path, manifest)


def open_bundle(path: Path) -> Bundle:
    """Verify every byte of a Bundle and return it.

    Args:
        path: a Bundle directory, or the RUN directory that holds one under `bundle/`.

    Raises:
        BundleError: no Bundle there, unknown format version, a changed, missing or extra file,
            or a link.
    """
    folder = find_bundle(path)
    for _ in range(REPLACED_AT_MOST):
        inode = _inode(folder)
        try:
            return _opened(folder)
        except (BundleError, StorageError):
            if _inode(folder) == inode:
                raise  # else another Bundle was put in its place while this one was read
    return _opened(folder)


def _inode(folder: Path) -> int:
    with storage_errors(folder):
        return folder.stat().st_ino


def _opened(folder: Path) -> Bundle:
    manifest = _read_manifest(folder)
    listed = set(manifest.files)
    with storage_errors(folder):
        found, folders = _list_files(folder)
    if missing := sorted(listed - found):
        raise BundleError(f"{folder} lacks {missing[0]!r}. Restore the Bundle from its source.")
    if extra := sorted(found - listed):
        raise BundleError(f"{folder} holds {extra[0]!r}, which its manifest does not list.")
    if odd := sorted(folders - _parents(listed)):
        raise BundleError(f"{folder} holds the folder {odd[0]!r}, which no listed file needs.")
    for name, record in manifest.files.items():
        with storage_errors(folder / name):
            size = (folder / name).lstat().st_size
        if size != record.size or sha256_file(folder / name) != record.sha256:
            raise BundleError(_changed(folder, name))
    return Bundle(folder, manifest)


def find_bundle(path: Path) -> Path:
    """Return the Bundle directory meant by a Bundle or RUN path.

    Raises:
        BundleError: there is none.
    """
    with storage_errors(path):
        for folder in (path, path / "bundle"):
            if (folder / MANIFEST).is_file():
                return folder
    raise BundleError(
        f"{path} holds no Bundle (no {MANIFEST}). Give the folder that "
        "'clearsight train DATA --out RUN' wrote."
    )


def canonical(manifest: Manifest) -> bytes:
    """Return the one byte form of a manifest, its digest included.

    Raises:
        ConfigError: a value that JSON cannot hold (NaN, infinity, broken text).
    """
    try:
        values: dict[str, Any] = json.loads(_dump(manifest.model_dump()))
        values["digest"] = _digest(values)
        return _dump(values)
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"A manifest cannot hold this: {error}.") from error


def _read_manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST
    with storage_errors(file), open(file, "rb") as stream:
        content = stream.read(MANIFEST_LIMIT_BYTES + 1)
    if file.is_symlink() or len(content) > MANIFEST_LIMIT_BYTES:
        raise BundleError(f"{file} is a link or too large to be a manifest.")
    try:
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("not an object")
        version = values.get("format_version")
        if type(version) is not int or version != FORMAT_VERSION:
            raise BundleError(
                f"{folder} has Bundle format {version!r}; this clearsight reads {FORMAT_VERSION}. "
                "Install the clearsight version that wrote it."
            )
        digest = values.pop("digest", None)
        manifest = Manifest.parse(values)
        # as it was written: fields that a later clearsight added may be missing
        whole = digest == _digest(values) and _dump(values | {"digest": digest}) == content
    except (ValueError, TypeError, RecursionError, ConfigError) as error:
        raise BundleError(f"{file} is damaged: {error}.") from error
    if not whole:
        raise BundleError(_changed(folder, MANIFEST))
    return manifest


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(_dump({k: v for k, v in values.items() if k != "digest"})).hexdigest()


def _dump(values: dict[str, Any]) -> bytes:
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def _list_files(folder: Path) -> tuple[set[str], set[str]]:
    """Return the names of all files (but the manifest) and of all folders in a Bundle."""
    files: set[str] = set()
    folders: set[str] = set()
    waiting = [folder]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            name = Path(entry.path).relative_to(folder).as_posix()
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                folders.add(name)
                waiting.append(Path(entry.path))
            elif stat.S_ISREG(mode):
                files.add(name)
            else:
                raise BundleError(
                    f"{folder} holds {name!r}, a link or special file; a Bundle has plain files."
                )
    return files - {MANIFEST}, folders


def _parents(names: set[str]) -> set[str]:
    return {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    plain = path.as_posix() == name and not path.is_absolute() and path.parts
    if not plain or ".." in path.parts or "\0" in name or name == MANIFEST:
        raise BundleError(f"A Bundle cannot hold a file named {name!r}.")
    return name


def _changed(folder: Path, name: str) -> str:
    return (
        f"{folder}: {name!r} is not what was written (its hash differs). The Bundle was changed or "
        "damaged and is not loaded. Restore it from its source or train again."
    )
