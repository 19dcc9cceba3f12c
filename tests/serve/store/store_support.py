"""What the tests of the store and the registry share: Bundles, cuts, processes."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from clearsight.core.bundle import MODEL, Bundle, write_bundle
from clearsight.serve.registry.promotion import Report

KINDS = ("sqlite", "postgresql")
EACH = pytest.mark.parametrize("url", KINDS, indirect=True)
CUT = 77  # how a process ends that was cut
FAILED = 78

ABOUT: dict[str, Any] = {
    "created_utc": "2026-01-01T00:00:00Z",
    "classes": ["red", "green", "blue"],
    "family": "colour",
    "preprocessing": {"height": 8, "width": 8, "channels": 3},
    "temperature": 1.0,
    "metrics": {},
    "data_fingerprint": "0" * 64,
    "seed": 0,
    "config": {},
    "versions": {},
}


def plain_bundle(path: Path, tag: str, model_bytes: int = 9000, **about: Any) -> Bundle:
    """Write a Bundle that no engine opens; its content depends on `tag` alone."""
    seed = hashlib.sha256(tag.encode()).digest()
    files = {
        MODEL: (seed * (model_bytes // 32 + 1))[:model_bytes],
        "golden/0.png": b"picture " + seed,
        "golden/scores.json": b"{}",
        "card.md": tag.encode(),
    }
    values = {**ABOUT, "id": seed.hex()[:32], **about}
    return write_bundle(path, values, files, gate=lambda bundle: None)


def passes(*_: Any) -> Report:
    """Stand in for `promotion.check` where the checks are not what is tested."""
    return Report()


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked process and return its exit code; FAILED with a traceback."""
    child = os.fork()
    if child == 0:
        code = FAILED
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the child must never return
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def cut_at(engine: Engine, number: int) -> None:
    """End the process, as kill -9 does, before the `number`th statement or commit."""
    left = [number]

    def count(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os._exit(CUT)

    event.listen(engine, "before_cursor_execute", count)
    event.listen(engine, "commit", count)


def no_room(limit_bytes: int) -> None:
    """Let every write beyond a file size fail in this process, as on a full disk."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))


def copy_store(folder: Path, to: Path) -> Path:
    """Copy a store as a power cut would leave it: the files as they are, no connection closed."""
    shutil.copytree(folder, to)
    for name in to.glob("*-shm"):
        name.unlink()
    return to


def tables_of(file: Path) -> str:
    """Return every row of an SQLite file as text."""
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        names = [
            r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    finally:
        connection.close()
    return json.dumps(rows, sort_keys=True)
