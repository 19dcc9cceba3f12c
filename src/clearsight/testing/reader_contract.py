"""What every reader in `data/readers/` must satisfy. Third parties: add an example, run it too."""

from __future__ import annotations

import gzip
import struct
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from clearsight.core.errors import DataError
from clearsight.data.listing import READERS, Listing, Row
from clearsight.data.readers.class_folders import ClassFolders
from clearsight.testing.contract import Contract

Example = Callable[[Path], Path]


def _picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value, 2 * value, 3 * value)).save(path)


def _class_folders(root: Path) -> Path:
    for value, name in enumerate(["cat/1.png", "cat/2.png", "犬/1.png", "犬/deep/2.png"]):
        _picture(root / name, value)
    (root / "note.txt").write_text("no class")
    (root / ".hidden").mkdir()
    return root


def _split_folders(root: Path) -> Path:
    for value, name in enumerate(["train/cat/1.png", "train/犬/1.png", "test/犬/2.png"]):
        _picture(root / name, value)
    (root / "train" / "note.txt").write_text("no class")
    return root


def _manifest(root: Path) -> Path:
    for value, name in enumerate(["a.png", "in/b.png"]):
        _picture(root / name, value)
    lines = ["path,label,part", "a.png,cat,train", "in/b.png,犬,test", "../c.png,cat,train"]
    (root / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    return root / "list.csv"


def _idx(root: Path) -> Path:
    pixels = np.arange(4 * 3 * 2, dtype=np.uint8)
    images = struct.pack(">HBBIII", 0, 8, 3, 4, 3, 2) + pixels.tobytes()
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    labels = struct.pack(">HBBI", 0, 8, 1, 4) + bytes([0, 1, 0, 1])
    (root / "train-labels-idx1-ubyte").write_bytes(labels)
    return root


class ReaderContract(Contract):
    """Lists everything, deterministically, changes nothing, recognises its own layout alone."""

    registry = READERS
    examples: ClassVar[dict[str, Example]] = {
        "class-folders": _class_folders,
        "split-folders": _split_folders,
        "manifest": _manifest,
        "idx": _idx,
    }

    def check_sniffs_exactly_one_example(self, reader: Any) -> None:
        """One example is its own; the others, an empty folder and a missing path are not."""
        with tempfile.TemporaryDirectory() as folder:
            claimed = [key for key, path in self._all(folder).items() if reader().sniff(path)]
            (Path(folder) / "empty").mkdir()
            assert len(claimed) == 1, f"claims {claimed}"
            assert not reader().sniff(Path(folder) / "empty")
            assert not reader().sniff(Path(folder) / "missing")

    def check_same_listing_twice(self, reader: Any) -> None:
        """Order and names depend on nothing but the data."""
        with tempfile.TemporaryDirectory() as folder:
            path = self._own(reader, folder)
            one, other = reader().read(path), reader().read(path)
            assert one.rows == other.rows
            assert one.skipped == other.skipped

    def check_inputs_untouched(self, reader: Any) -> None:
        """No file is written, changed or removed."""
        with tempfile.TemporaryDirectory() as folder:
            path = self._own(reader, folder)
            before = _state(Path(folder))
            reader().read(path)
            assert _state(Path(folder)) == before

    def check_names_give_pictures(self, reader: Any) -> None:
        """Every row's name leads to a picture; names are unique; labels are text."""
        with tempfile.TemporaryDirectory() as folder:
            listing: Listing = reader().read(self._own(reader, folder))
            names = [row.name for row in listing.rows]
            assert names
            assert len(set(names)) == len(names)
            assert all(row.labels and all(row.labels) for row in listing.rows)
            for name in names:
                if listing.source is None:
                    assert (listing.root / name).resolve().is_relative_to(listing.root)
                    assert (listing.root / name).is_file()
                else:
                    assert listing.source.image(name).shape[2] == 3

    def check_skipped_have_reasons(self, reader: Any) -> None:
        """What is left out is named with a reason, and no name is both used and left out."""
        with tempfile.TemporaryDirectory() as folder:
            listing: Listing = reader().read(self._own(reader, folder))
            (Path(folder) / "nothing").mkdir()
            assert all(item.name and item.reason for item in listing.skipped)
            assert not {row.name for row in listing.rows} & {i.name for i in listing.skipped}
            if listing.source is None:
                assert listing.skipped, "the examples hold something that is no data"

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""

        class ClaimsAll(ClassFolders):
            def sniff(self, path: Path) -> bool:
                return True

        class Unordered(ClassFolders):
            turn = 0

            def read(self, path: Path) -> Listing:
                listing = super().read(path)
                type(self).turn += 1
                return replace(listing, rows=listing.rows[:: 1 if self.turn % 2 else -1])

        class Writes(ClassFolders):
            def read(self, path: Path) -> Listing:
                (path / "index.cache").write_text("x")
                return super().read(path)

        class Escapes(ClassFolders):
            def read(self, path: Path) -> Listing:
                return replace(super().read(path), rows=(Row("../x.png", ("cat",)),))

        class Silent(ClassFolders):
            def read(self, path: Path) -> Listing:
                return replace(super().read(path), skipped=())

        return {
            "check_sniffs_exactly_one_example": ClaimsAll,
            "check_same_listing_twice": Unordered,
            "check_inputs_untouched": Writes,
            "check_names_give_pictures": Escapes,
            "check_skipped_have_reasons": Silent,
        }

    def _all(self, folder: str) -> dict[str, Path]:
        paths = {}
        for key, build in self.examples.items():
            root = Path(folder).resolve() / key
            root.mkdir()
            paths[key] = build(root)
        return paths

    def _own(self, reader: Any, folder: str) -> Path:
        for path in self._all(folder).values():
            if reader().sniff(path):
                return path
        raise DataError("The reader claims none of the examples; add one to `examples`.")


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
