"""A promotion cut, or refused by the disk, at every system call that writes (CHECKS 14, 15)."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from store_support import passes

from clearsight.core.bundle import Bundle
from clearsight.serve.registry.backup import look_through
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.store.blobs import FolderBlobs
from clearsight.serve.store.database import Database

CALLS = "pwrite64,fdatasync,fsync,ftruncate,unlink,rename"
PROMOTE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from clearsight.core.errors import StorageError
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.store.blobs import FolderBlobs
from clearsight.serve.store.database import Database
from store_support import passes
folder = Path(sys.argv[1])
try:
    registry = ModelRegistry(
        Database(f"sqlite:///{folder / 'store.sqlite3'}"), FolderBlobs(folder / "b"), check=passes
    )
    registry.promote("shoes", 2, who="bob")
except StorageError as error:
    print(error)
    sys.exit(9)
print("acknowledged")
"""
MOST = 200


def opened(folder: Path) -> ModelRegistry:
    url = f"sqlite:///{folder / 'store.sqlite3'}"
    return ModelRegistry(Database(url), FolderBlobs(folder / "b"), check=passes)


def promote_with(folder: Path, fault: str) -> subprocess.CompletedProcess[str]:
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={CALLS}:{fault}"]
    command += [sys.executable, "-c", PROMOTE, str(folder), str(Path(__file__).parent)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def traced() -> bool:
    """Whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-qq", "-o", "/dev/null", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO", "error=ENOSPC"])
def test_a_promotion_with_a_fault_at_every_write(
    fault: str, tmp_path: Path, bundle: Callable[[str], Bundle]
) -> None:
    if not traced():
        pytest.skip("strace is not installed or may not trace here")
    base = tmp_path / "base"
    base.mkdir()
    registry = opened(base)
    for tag in "ab":
        registry.add("shoes", bundle(tag).path, who="ann")
    registry.promote("shoes", 1, who="ann")
    registry.database.close()
    outcomes = []
    for number in range(1, MOST):
        folder = shutil.copytree(base, tmp_path / f"try{number}")
        done = promote_with(folder, f"{fault}:when={number}")
        again = opened(folder)
        assert look_through(again) == []
        production = again.model("shoes").aliases["production"]
        promotions = [c.version for c in again.history() if c.what == "promote"]
        assert promotions[0] == production  # alias and history moved together, or not at all
        acknowledged = "acknowledged" in done.stdout
        if acknowledged:
            assert production == 2
        elif fault != "signal=KILL":
            assert done.returncode == 9, done.stdout + done.stderr  # it was said
        outcomes.append((done.returncode, production))
        again.promote("shoes", 2, who="ann")  # and it goes on
        again.database.close()
        shutil.rmtree(folder)
        if done.returncode == 0 and _untouched(fault, outcomes):
            break
    killed = -signal.SIGKILL if fault == "signal=KILL" else 9
    assert {code for code, _ in outcomes} >= {0, killed}
    assert {production for code, production in outcomes if code == killed} >= {1}


def _untouched(fault: str, outcomes: list[tuple[int, int]]) -> bool:
    """Whether the fault came too late: several runs in a row ended well."""
    return len(outcomes) >= 3 and all(code == 0 for code, _ in outcomes[-3:])
