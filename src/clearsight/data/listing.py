"""What a reader finds before any picture is opened, and the safe walk through folders."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from clearsight.core.nouns import Task
from clearsight.core.registry import Registry
from clearsight.data.source import Source

READERS = Registry("clearsight.data.readers", "reader")

Part = Literal["train", "val", "test"]
PART_FOLDERS: dict[str, Part] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was found and is no part of the data, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """A picture that a reader found, its classes by name and its part where the data says so.

    Args:
        name: of the picture.
        labels: one class name; any number of them in a multi-label listing.
        part: where the data says it belongs.
        columns: what else a manifest says of it, by column.
    """

    name: str
    labels: tuple[str, ...]
    part: Part | None = None
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Listing:
    """Everything a reader found; nothing is left out without an entry in `skipped`.

    Args:
        root: the folder that the names are relative to.
        rows: pictures, in a deterministic order.
        skipped: what was found beside them.
        source: where the pixels are; None for files below `root`, whose headers are then checked.
        task: "multi-label" where a picture may have any number of classes.
    """

    root: Path
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...] = ()
    source: Source | None = None
    task: Task = "single-label"


class Reader(Protocol):
    """Understands one layout of labelled pictures; the folder `readers/` is the registry."""

    def sniff(self, path: Path) -> bool:
        """Return whether `path` has this reader's layout; looks at names only, never raises."""

    def read(self, path: Path) -> Listing:
        """List every picture.

        Raises:
            DataError: the layout is this reader's but cannot be used.
        """


def natural_key(text: str) -> tuple[object, ...]:
    """Order names as people do: "2" before "10", "a" beside "A".

    Example:
        >>> sorted(["10", "2", "b", "A"], key=natural_key)
        ['2', '10', 'A', 'b']
    """
    parts = re.split(r"([0-9]+)", unicodedata.normalize("NFC", text).casefold())
    numbers = [(len(part.lstrip("0")), part.lstrip("0")) for part in parts[1::2]]
    return (tuple(zip(parts[::2], [*numbers, (0, "")], strict=True)), text)


def folders_in(path: Path) -> list[str]:
    """Return the names of the visible, real folders in `path`, in natural order."""
    try:
        with os.scandir(path) as entries:
            names = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
    return sorted(names, key=natural_key)


def has_parts(path: Path) -> bool:
    """Return whether `path` holds a train folder with class folders in it.

    A class that happens to be called "train" holds pictures, not folders, so it does not count.
    """
    folders = folders_in(path)
    parts = [name for name in folders if name.casefold() in PART_FOLDERS]
    train = [name for name in parts if name.casefold() == "train"]
    if not train or not folders_in(path / train[0]):
        return False
    return len(parts) > 1 or len(folders) == 1


def walk(root: Path, below: str = "") -> tuple[list[str], list[Skipped]]:
    """List the regular files below a folder without ever leaving it.

    Hidden entries, linked folders, links that leave `root`, devices and names that are no
    Unicode text are skipped with the reason.

    Args:
        root: the folder that names are relative to; already resolved.
        below: where to start, a relative POSIX path in `root`.

    Returns:
        Names relative to `root` in natural order, and what was skipped.
    """
    files: list[str] = []
    skipped: list[Skipped] = []
    pending = [below]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as scan:
                entries = list(scan)
        except OSError as error:
            reason = f"the folder cannot be listed: {error.strerror or error}"
            skipped.append(Skipped(folder or ".", reason))
            continue
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            reason = _why_not(entry, root)
            if reason:
                skipped.append(Skipped(printable(name), reason))
            elif entry.is_dir(follow_symlinks=False):
                pending.append(name)
            else:
                files.append(name)
    files.sort(key=natural_key)
    skipped.sort(key=lambda item: natural_key(item.name))
    return files, skipped


def without_files(root: Path, prefix: str, rows: Iterable[Row]) -> list[Skipped]:
    """Name the class folders in `root/prefix` that hold no file: they become no class."""
    level = prefix.count("/")
    filled = {row.name.split("/")[level] for row in rows if row.name.startswith(prefix)}
    return [
        Skipped(prefix + printable(name), "a class folder without pictures")
        for name in folders_in(root / prefix)
        if name not in filled
    ]


def printable(name: str) -> str:
    """Return a name that can be printed and written as UTF-8, whatever bytes it holds."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _why_not(entry: os.DirEntry[str], root: Path) -> str:
    if entry.name.startswith("."):
        return "hidden"
    if printable(entry.name) != entry.name:
        return "the name is not valid Unicode text; rename it"
    try:
        if entry.is_symlink():
            return _why_not_link(entry, root)
        mode = entry.stat(follow_symlinks=False).st_mode if not entry.is_file() else stat.S_IFREG
    except OSError as error:
        return f"cannot be looked at: {error.strerror or error}"
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "not a regular file"


def _why_not_link(entry: os.DirEntry[str], root: Path) -> str:
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):
        return "a link to nothing, or to itself"
    if target.is_dir():
        return "a linked folder; links to folders are not followed"
    if not target.is_relative_to(root):
        return "a link that leaves the data folder"
    return "" if target.is_file() else "not a regular file"
