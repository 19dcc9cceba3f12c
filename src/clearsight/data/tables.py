"""Writes rows as CSV, JSONL or Parquet, crash-safely."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clearsight.core.errors import MissingExtraError, UsageError
from clearsight.core.files import write_bytes

FORMATS = (".csv", ".jsonl", ".parquet")


def check_table_path(path: Path) -> None:
    """Refuse a table that could not be written, before any work is done.

    Raises:
        UsageError: another suffix, or a folder that does not exist.
        MissingExtraError: Parquet without pyarrow.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--out ends in {', '.join(FORMATS)}; got {str(path)!r}.")
    if not path.parent.is_dir():
        raise UsageError(f"The folder {path.parent} does not exist. Create it first.")
    if path.suffix.lower() == ".parquet":
        _parquet()


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows that share their keys; nested values become JSON text in CSV and Parquet.

    Args:
        path: ends in .csv (UTF-8, RFC 4180), .jsonl (UTF-8) or .parquet; replaced whole.
        rows: dictionaries with the same keys in the same order.

    Raises:
        StorageError: an I/O failure; the old file is intact.
    """
    kind = path.suffix.lower()
    if kind == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        write_bytes(path, text.encode("utf-8", "surrogateescape"))
    elif kind == ".csv":
        write_bytes(path, _csv(rows).encode("utf-8", "surrogateescape"))
    else:
        write_bytes(path, _parquet_bytes(rows))


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows({name: _flat(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json_text(value)


def _json_text(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _parquet_bytes(rows: Sequence[dict[str, Any]]) -> bytes:
    pyarrow = _parquet()
    import pyarrow.parquet as parquet

    flat = [{name: _json_text(value) for name, value in row.items()} for row in rows]
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(flat), stream)
    return stream.getvalue()


def _parquet() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", "Writing Parquet") from error
    return pyarrow
