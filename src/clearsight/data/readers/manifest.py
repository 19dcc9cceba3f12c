"""A list of pictures: CSV with a header line, or JSON Lines; columns path, label[, part|split].

With the column `labels` instead of `label` a picture may have any number of classes: separated by
"|" in CSV, a list of texts in JSON Lines.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clearsight.core.errors import DataError, nearest
from clearsight.core.nouns import Task
from clearsight.data.listing import PART_FOLDERS, Listing, Part, Row, Skipped, printable

_PART_COLUMNS = ("part", "split")
_OWN_COLUMNS = {"path", "label", "labels", *_PART_COLUMNS}
MOST_COLUMNS = 32
LONGEST_CELL = 200
_SEPARATOR = "|"


class Manifest:
    """Reads paths relative to the manifest's folder; a path that leaves the folder is refused."""

    def sniff(self, path: Path) -> bool:
        """Return whether it is a file that ends in .csv or .jsonl."""
        return path.suffix.casefold() in (".csv", ".jsonl") and path.is_file()

    def read(self, path: Path) -> Listing:
        """List the rows; further columns of text or numbers say more of a picture."""
        root = path.parent
        rows: dict[str, tuple[int, Row]] = {}
        skipped: list[Skipped] = []
        several = False
        for line, values in _lines(path):
            several = "labels" in values
            name, labels = _text(values.get("path")), _labels(values)
            reason = _why_not(root, name, labels)
            if reason:
                skipped.append(Skipped(printable(name) or f"line {line}", f"line {line}: {reason}"))
                continue
            name = os.path.normpath(name).replace(os.sep, "/")
            row = Row(name, labels or (), _part(path, line, values), _columns(values))
            first_line, first = rows.setdefault(name, (line, row))
            if first_line != line:
                _check_repeat(path, first_line, first, line, row)
                skipped.append(Skipped(name, f"line {line}: listed before, on line {first_line}"))
        found = tuple(row for _, row in rows.values())
        task: Task = "multi-label" if several else "single-label"
        return Listing(root, found, tuple(skipped), task=task)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and columns of every row."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            if path.suffix.casefold() == ".csv":
                reader = csv.DictReader(stream, strict=True)
                _check_columns(path, list(reader.fieldnames or []))
                for values in reader:
                    yield reader.line_num, values
                return
            for line, text in enumerate(stream, start=1):
                if text.strip():
                    values = json.loads(text)
                    if not isinstance(values, dict):
                        raise DataError(f"{path}, line {line}: expected one JSON object a line.")
                    _check_columns(path, list(values), line)
                    yield line, values
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except (csv.Error, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as {path.suffix[1:].upper()}: {error}.") from error


def _check_columns(path: Path, names: list[str], line: int = 1) -> None:
    for columns in (("path",), ("label", "labels")):
        if not set(columns) & set(names):
            raise DataError(
                f"{path}, line {line}: there is no column {columns[0]!r}; got "
                f"{', '.join(map(repr, names[:20])) or 'none'}. A manifest has the columns path "
                "and label (or labels, for any number of classes a picture), and may have part."
            )
    if {"label", "labels"} <= set(names):
        raise DataError(f"{path}, line {line}: has both 'label' and 'labels'. Keep one of them.")
    if all(column in names for column in _PART_COLUMNS):
        raise DataError(f"{path}, line {line}: has both 'part' and 'split'. Keep one of them.")


def _text(value: Any) -> str:
    """Return a cell as text; numbers keep their digits, everything else becomes empty."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _labels(values: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the class names of a row, each once; None where they cannot be read."""
    if "labels" not in values:
        label = _text(values["label"])
        return (label,) if label else None
    cell = values["labels"]
    parts = cell if isinstance(cell, list) else (cell or "").split(_SEPARATOR)
    texts = [_text(part) for part in parts]
    if isinstance(cell, list) and not all(texts):
        return None
    return tuple(dict.fromkeys(text for text in texts if text))


def _why_not(root: Path, name: str, labels: tuple[str, ...] | None) -> str:
    if not name:
        return "no path"
    if labels is None:
        return "no label"
    if "://" in name:
        return "a URL; pictures are never fetched, download it first"
    if (
        "\0" in name
        or printable(name) != name
        or any(printable(label) != label for label in labels)
    ):
        return "the text is not valid"
    try:
        target = (root / name).resolve()
    except (OSError, RuntimeError) as error:
        return f"cannot be looked at: {error}"
    if os.path.isabs(name) or not target.is_relative_to(root):
        return "the path leaves the manifest's folder; give it relative to the manifest"
    if target.exists() and not target.is_file():
        return "not a regular file"
    return ""


def _columns(values: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the further columns of a row that hold short text or a number; at most 32."""
    found = []
    for name, value in values.items():
        if not isinstance(name, str) or name in _OWN_COLUMNS or printable(name) != name:
            continue
        text = repr(value) if isinstance(value, float) else _text(value)
        if isinstance(value, bool):
            text = "yes" if value else "no"
        if text and len(text) <= LONGEST_CELL and printable(text) == text:
            found.append((name, text))
    return tuple(found[:MOST_COLUMNS])


def _part(path: Path, line: int, values: dict[str, Any]) -> Part | None:
    word = next((_text(values[name]) for name in _PART_COLUMNS if name in values), "")
    if not word:
        return None
    part = PART_FOLDERS.get(word.casefold())
    if part is None:
        raise DataError(f"{path}, line {line}: unknown part {word!r}.{nearest(word, PART_FOLDERS)}")
    return part


def _check_repeat(path: Path, first_line: int, first: Row, line: int, row: Row) -> None:
    pairs = (
        ("label", ", ".join(first.labels), ", ".join(row.labels)),
        ("part", first.part, row.part),
    )
    for what, one, other in pairs:
        if one != other:
            raise DataError(
                f"{path}: {row.name} has the {what} {one!r} on line {first_line} and {other!r} on "
                f"line {line}. Keep one of them."
            )
