"""A PostgreSQL server of the tests' own: a folder, a Unix socket, no network."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_S = 30


def programs() -> Path | None:
    """Return the folder of the newest installed server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


def unprivileged() -> str | None:
    """Return the user the server runs as; None when we are not root already."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("we are root and there is no unprivileged user to run PostgreSQL as")


@contextmanager
def cluster() -> Iterator[Path]:
    """Start a server and yield its socket; skip where none is installed."""
    pytest.importorskip("pg8000", reason="needs the extra clearsight[postgresql]")
    tools = programs()
    if tools is None:
        pytest.skip("PostgreSQL is not installed: scripts/apt.sh /usr/bin/psql postgresql")
    user = unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="clearsight-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        init = [str(tools / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(
            [*init, "-E", "UTF8", "--locale=C"], user=user, check=True, capture_output=True,
            cwd=folder, timeout=120,
        )  # fmt: skip
        server = subprocess.Popen(
            [str(tools / "postgres"), "-D", str(data), "-k", str(folder), "-h", ""],
            user=user, cwd=folder, stdout=subprocess.DEVNULL, stderr=(folder / "log").open("w"),
        )  # fmt: skip
        try:
            yield _ready(folder / ".s.PGSQL.5432", server)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(START_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fresh_database(socket: Path, name: str) -> str:
    """Make an empty database and return its URL."""
    _execute(socket, f'CREATE DATABASE "{name}"')
    return f"postgresql://postgres@/{name}?unix_sock={socket}"


def _ready(socket: Path, server: subprocess.Popen[bytes]) -> Path:
    until = time.monotonic() + START_S
    while True:
        try:
            _execute(socket, "SELECT 1")
        except Exception:  # noqa: BLE001 - it is still starting
            assert server.poll() is None, (socket.parent / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.05)
        else:
            return socket


def _execute(socket: Path, statement: str) -> None:
    import pg8000.native

    connection = pg8000.native.Connection("postgres", unix_sock=str(socket))
    try:
        connection.run(statement)
    finally:
        connection.close()
