"""Parts first, classes inside: `data/train/cat/1.jpg`, `data/val/cat/2.jpg`, `data/test/...`."""

from __future__ import annotations

from pathlib import Path

from clearsight.core.errors import DataError
from clearsight.data.listing import (
    PART_FOLDERS,
    Listing,
    Part,
    Row,
    Skipped,
    folders_in,
    has_parts,
    walk,
    without_files,
)


class SplitFolders:
    """Reads train, val (or valid, validation) and test folders, each with class folders."""

    def sniff(self, path: Path) -> bool:
        """Return whether there is a train folder with class folders in it."""
        return path.is_dir() and has_parts(path)

    def read(self, path: Path) -> Listing:
        """List the files of every class folder of every part."""
        parts = _parts(path)
        files, skipped = walk(path)
        rows = []
        for name in files:
            levels = name.split("/")
            if levels[0] not in parts:
                skipped.append(Skipped(name, "lies outside of the train, val and test folders"))
            elif len(levels) < 3:
                skipped.append(Skipped(name, "lies beside the class folders, so it has no class"))
            else:
                rows.append(Row(name, (levels[1],), parts[levels[0]]))
        for part in parts:
            skipped += without_files(path, f"{part}/", rows)
        return Listing(path, tuple(rows), tuple(skipped))


def _parts(path: Path) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for name in folders_in(path):
        part = PART_FOLDERS.get(name.casefold())
        if part is None:
            continue
        if part in parts.values():
            other = next(key for key, value in parts.items() if value == part)
            raise DataError(
                f"{path}: both {other!r} and {name!r} are a {part} part. Keep one of them."
            )
        parts[name] = part
    return parts
