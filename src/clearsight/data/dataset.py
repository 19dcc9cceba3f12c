"""Labelled pictures by name: what was found, what is used, what is not and why."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import DataError, nearest
from clearsight.core.nouns import ImageHWC, Task
from clearsight.data.decode import Limits
from clearsight.data.gate import Quarantined, check_headers, looks_like_picture
from clearsight.data.listing import (
    READERS,
    Listing,
    Part,
    Reader,
    Row,
    Skipped,
    natural_key,
)
from clearsight.data.source import FileSource, Source

__all__ = ["Dataset", "Part", "Quarantined", "Sample", "Skipped", "read_dataset"]

_DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture.

    Args:
        name: relative POSIX path (files), or "array/index" (IDX).
        labels: indices into the data set's classes, ascending: one of them, or any number in a
            multi-label data set.
        part: where the data says it belongs; None before `split`.
        columns: what else a manifest says of it, by column; figures are told for its values.
    """

    name: str
    labels: tuple[int, ...]
    part: Part | None = None
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> int:
        """The class of a picture that has exactly one."""
        (label,) = self.labels
        return label


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures; nothing is decoded until it is asked for. Inputs are never modified.

    Args:
        root: the folder (for a manifest, the folder it lies in).
        reader: key of the reader that read it.
        classes: class names in natural order; labels index into it.
        samples: usable pictures, as far as their headers tell.
        quarantined: pictures that cannot be used.
        skipped: everything else that was found.
        source: gives the pixels.
        task: "multi-label" where a picture may have any number of classes.
    """

    root: Path
    reader: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    quarantined: tuple[Quarantined, ...]
    skipped: tuple[Skipped, ...]
    source: Source
    task: Task = "single-label"

    def __len__(self) -> int:
        """Number of usable pictures."""
        return len(self.samples)

    @property
    def found(self) -> int:
        """Everything that was found: used, quarantined and skipped."""
        return len(self.samples) + len(self.quarantined) + len(self.skipped)

    def encoded(self, index: int) -> bytes:
        """Return picture `index` as an encoded file (IDX pictures as PNG).

        Raises:
            ImageError: "unreadable" or "bytes".
        """
        return self.source.encoded(self.samples[index].name)

    def image(self, index: int) -> ImageHWC:
        """Return picture `index`, (height, width, 3) uint8 RGB.

        Raises:
            ImageError: the picture cannot be used.
        """
        return self.source.image(self.samples[index].name)

    def digest(self, index: int) -> str:
        """Return the SHA-256 of the content of picture `index` as hex digits.

        Raises:
            ImageError: "unreadable" or "bytes".
        """
        return self.source.digest(self.samples[index].name)

    def select(self, indices: Iterable[int]) -> Dataset:
        """Return the data set with only these pictures, in this order."""
        return replace(self, samples=tuple(self.samples[int(index)] for index in indices))

    def part(self, name: Part) -> Dataset:
        """Return the pictures of one part; empty when there are none."""
        return replace(self, samples=tuple(item for item in self.samples if item.part == name))

    def counts(self) -> tuple[int, ...]:
        """Return the number of pictures of every class."""
        counter = Counter(label for sample in self.samples for label in sample.labels)
        return tuple(counter[label] for label in range(len(self.classes)))

    def targets(self, indices: Sequence[int] | None = None) -> NDArray[np.int64]:
        """Return what is to be learnt of these pictures (all when None), int64.

        (n,) class numbers; (n, classes) of 0 and 1 in a multi-label data set.
        """
        chosen = self.samples if indices is None else [self.samples[i] for i in indices]
        if self.task != "multi-label":
            return np.array([sample.label for sample in chosen], np.int64)
        targets = np.zeros((len(chosen), len(self.classes)), np.int64)
        for row, sample in enumerate(chosen):
            targets[row, list(sample.labels)] = 1
        return targets

    def strata(self) -> list[int]:
        """Return, for every picture, the class that it stands for when classes are kept balanced.

        Its class; the rarest of its classes in a multi-label data set, -1 when it has none.
        """
        counts = self.counts()
        return [
            min(sample.labels, key=lambda label: (counts[label], label), default=-1)
            for sample in self.samples
        ]

    def label_names(self, index: int) -> tuple[str, ...]:
        """Return the class names of picture `index`."""
        return tuple(self.classes[label] for label in self.samples[index].labels)

    def quarantine(self, more: Sequence[Quarantined]) -> Dataset:
        """Return the data set with these pictures moved from the samples to the quarantine."""
        names = {item.name for item in more}
        return replace(
            self,
            samples=tuple(item for item in self.samples if item.name not in names),
            quarantined=(*self.quarantined, *more),
        )


def read_dataset(path: Path | str, reader: str | None = None, limits: Limits = _DEFAULT) -> Dataset:
    """Read labelled pictures: class folders, train/val/test folders, a manifest, or IDX files.

    Only the beginning of every file is read. Damaged pictures are quarantined and never stop it.

    Args:
        path: a folder, or a manifest file.
        reader: a key of `readers/`; found out from the layout when None.
        limits: what one picture may cost.

    Raises:
        DataError: nothing usable was found, or parts and classes contradict each other.
        UnknownKeyError: there is no such reader.
    """
    path = Path(path)
    try:
        path = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}. "
            "Give a folder of class folders, or a manifest file."
        ) from error
    key = reader or _find_reader(path)
    chosen: Reader = READERS.load(key)()
    return _admit(path, key, chosen.read(path), limits)


def _find_reader(path: Path) -> str:
    keys = [key for key in READERS.keys() if READERS.load(key)().sniff(path)]  # noqa: SIM118
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise DataError(
            f"{path} can be read in {len(keys)} ways: {', '.join(keys)}. Choose one as the reader."
        )
    raise DataError(f"{path} {_what_it_is(path)} {_LAYOUTS}")


_LAYOUTS = (
    "Allowed: a folder with one folder of pictures a class; a folder with train, val and test "
    "inside, each with class folders; a CSV or JSONL manifest with the columns path and label; "
    "a folder with IDX files (train-images-idx3-ubyte and train-labels-idx1-ubyte)."
)


def _what_it_is(path: Path) -> str:
    if path.is_file():
        return f"is a file of type {path.suffix or '(none)'!r}, which is no manifest."
    try:
        names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return f"cannot be listed: {error.strerror or error}."
    if not names:
        return "is empty."
    manifests = [name for name in names if name.casefold().endswith((".csv", ".jsonl"))]
    if manifests:
        return f"holds no class folders but {manifests[0]!r}: give that file as the data."
    pictures = sum(map(looks_like_picture, names))
    if pictures:
        return (
            f"holds {pictures} pictures but no class folders: put the pictures of each class "
            "into a folder with the class's name."
        )
    return f"holds {len(names)} files, no class folders and no pictures."


def _admit(path: Path, key: str, listing: Listing, limits: Limits) -> Dataset:
    if listing.source is None:
        rows, quarantined, skipped = _gate(listing, limits)
        source: Source = FileSource(listing.root, limits)
    else:
        rows, quarantined, skipped = list(listing.rows), [], list(listing.skipped)
        source = listing.source
    if not rows:
        raise DataError(f"{path} holds no usable picture. {_why_nothing(quarantined, skipped)}")
    _check_parts(path, rows)
    names = _class_names({label for row in rows for label in row.labels})
    classes = tuple(sorted(names.values(), key=natural_key))
    index = {raw: classes.index(name) for raw, name in names.items()}
    samples = tuple(
        Sample(row.name, tuple(sorted(index[label] for label in row.labels)), row.part, row.columns)
        for row in rows
    )
    left_out = tuple(quarantined), tuple(skipped)
    return Dataset(listing.root, key, classes, samples, *left_out, source, listing.task)


def _gate(listing: Listing, limits: Limits) -> tuple[list[Row], list[Quarantined], list[Skipped]]:
    """Sort the rows: a usable picture, a picture that is not usable, no picture at all."""
    rows: list[Row] = []
    quarantined: list[Quarantined] = []
    skipped = list(listing.skipped)
    errors = check_headers(listing.root, [row.name for row in listing.rows], limits)
    for row, error in zip(listing.rows, errors, strict=True):
        if error is None:
            rows.append(row)
        elif error.reason in ("format", "empty") and not looks_like_picture(row.name):
            skipped.append(Skipped(row.name, f"not a picture: {error.detail}"))
        else:
            quarantined.append(Quarantined(row.name, error.reason, error.detail))
    return rows, quarantined, skipped


def _why_nothing(quarantined: Sequence[Quarantined], skipped: Sequence[Skipped]) -> str:
    if not quarantined and not skipped:
        return "It is empty."
    first = [f"{item.name}: {item.detail}" for item in quarantined[:3]]
    first += [f"{item.name}: {item.reason}" for item in skipped[:3]]
    return (
        f"Found {len(quarantined)} damaged pictures and {len(skipped)} other entries, "
        f"for example {'; '.join(first[:3])}"
    )


def _class_names(raw: set[str]) -> dict[str, str]:
    """Write class names in Unicode's composed form, except where two would become one."""
    composed = Counter(unicodedata.normalize("NFC", name) for name in raw)
    return {
        name: composed_name
        if composed[composed_name := unicodedata.normalize("NFC", name)] == 1
        else name
        for name in raw
    }


def _check_parts(path: Path, rows: Sequence[Row]) -> None:
    """Refuse a class that only validation or test data has: nothing could be learnt about it."""
    known = {label for row in rows if row.part in ("train", None) for label in row.labels}
    if not known:
        return
    for row in rows:
        for label in set(row.labels) - known:
            raise DataError(
                f"{path}: the {row.part} part has the class {label!r} ({row.name}), "
                f"but the train part has no picture of it."
                f"{nearest(label, known)} Rename it, or add pictures to train."
            )
