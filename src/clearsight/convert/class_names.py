"""Class names in the order of a model's outputs: a text file, or a JSON list or object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clearsight.core.errors import UsageError
from clearsight.core.files import storage_errors

BYTES_AT_MOST = 16 * 1024 * 1024


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names.

    Args:
        path: text with one name a line (UTF-8), a JSON list of names, or a JSON object from
            "0", "1", ... to names.

    Raises:
        UsageError: not readable as names, fewer than two, empty or repeated ones.
    """
    with storage_errors(path), open(path, "rb") as stream:
        content = stream.read(BYTES_AT_MOST + 1)
    if len(content) > BYTES_AT_MOST:
        raise UsageError(f"{path} is too large for a list of class names.")
    try:
        text = content.decode("utf-8-sig")
        names = _from_json(json.loads(text)) if path.suffix == ".json" else text.splitlines()
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} holds no class names: {error}. Write one name a line in UTF-8, or a JSON list."
        ) from error
    while names and not names[-1].strip():
        names.pop()
    names = [name.strip() for name in names]
    _check(path, names)
    return tuple(names)


def _from_json(value: Any) -> list[str]:
    if isinstance(value, dict):
        keys = {str(number) for number in range(len(value))}
        if set(value) != keys:
            raise ValueError('an object must have the keys "0", "1", "2" and so on, without a gap')
        value = [value[str(number)] for number in range(len(value))]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("JSON must be a list of texts, or an object with texts")
    return value


def _check(path: Path, names: list[str]) -> None:
    if len(names) < 2:
        raise UsageError(f"{path} names {len(names)} classes; a recognizer has at least two.")
    if "" in names:
        raise UsageError(f"{path} has an empty name in line {names.index('') + 1}.")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"{path} names the class {name!r} twice.")
        seen.add(name)
