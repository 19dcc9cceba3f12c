"""One folder a class: `photos/cat/1.jpg`."""

from __future__ import annotations

from pathlib import Path

from clearsight.data.listing import (
    Listing,
    Row,
    Skipped,
    folders_in,
    has_parts,
    walk,
    without_files,
)


class ClassFolders:
    """Reads a folder whose visible sub-folders are the classes; folders inside them belong in."""

    def sniff(self, path: Path) -> bool:
        """Return whether there are sub-folders that are not train/val/test."""
        return path.is_dir() and bool(folders_in(path)) and not has_parts(path)

    def read(self, path: Path) -> Listing:
        """List the files of every class folder."""
        files, skipped = walk(path)
        rows = tuple(Row(name, (name.split("/")[0],)) for name in files if "/" in name)
        beside = [
            Skipped(name, "lies beside the class folders, so it has no class")
            for name in files
            if "/" not in name
        ]
        return Listing(path, rows, (*skipped, *beside, *without_files(path, "", rows)))
