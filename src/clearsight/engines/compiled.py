"""Compiled models on disk: an engine that compiles slowly does it once a machine.

Nothing is remembered until `remember_compiled` names a folder; a service does, single commands do
not. What is stored is only ever read back by the same engine, version and processor, and only
where its own hash still fits.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

from clearsight.core.errors import StorageError
from clearsight.core.files import write_bytes

LIMIT_BYTES = 4 * 1024**3
DIGEST_BYTES = 32
_folder: Path | None = None


def remember_compiled(folder: Path | None) -> None:
    """Keep compiled models in this folder from now on; None keeps none."""
    global _folder
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _folder = folder


def remembered_folder() -> Path | None:
    """Return the folder that was named, None where nothing is remembered."""
    return _folder


def cache_folder() -> Path:
    """Return where this machine's user keeps what can be made again."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "clearsight" / "compiled"


def read_compiled(key: str) -> bytes | None:
    """Return what was kept under a key; None where there is nothing, or nothing whole."""
    if _folder is None:
        return None
    path = _folder / f"{key}.blob"
    try:
        content = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    digest, blob = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return blob if hashlib.sha256(blob).digest() == digest else None


def keep_compiled(key: str, blob: Callable[[], bytes]) -> None:
    """Keep a compiled model; what was used longest ago goes when the folder is full.

    A folder that cannot be written is no reason not to answer, so failures are not raised.
    """
    if _folder is None:
        return
    content = blob()
    try:
        _make_room(_folder, len(content))
        write_bytes(_folder / f"{key}.blob", hashlib.sha256(content).digest() + content)
    except (OSError, StorageError):
        return


def compiled_key(*parts: object) -> str:
    """Return the key of something that holds for these parts on this processor alone."""
    told = "\0".join(map(str, (*parts, platform.machine(), _processor())))
    return hashlib.sha256(told.encode()).hexdigest()


def _make_room(folder: Path, size: int) -> None:
    blobs = sorted(folder.glob("*.blob"), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in blobs) + size
    for path in blobs:
        if total <= LIMIT_BYTES:
            return
        total -= path.stat().st_size
        path.unlink(missing_ok=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    told = ("model name", "flags", "Features")
    found = [line for line in lines if line.startswith(told)]
    return "\n".join(sorted(set(found)))
