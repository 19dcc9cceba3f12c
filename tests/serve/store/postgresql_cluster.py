"""A PostgreSQL server of the tests' own: a folder, a Unix socket, TLS on the loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Server:
    """A running server.

    Args:
        folder: where its socket and its certificate are.
        port: on the loopback, where it also speaks TLS.
        free, taken: names of databases that are empty, and of those that a test uses.
    """

    folder: Path
    port: int
    free: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.folder / f".s.PGSQL.{self.port}"

    @property
    def certificate(self) -> Path:
        """The certificate of "localhost" that it shows."""
        return self.folder / "server.pem"


@contextmanager
def cluster() -> Iterator[Server]:
    """Start a server and yield it; skip where none is installed."""
    pytest.importorskip("pg8000", reason="needs the extra clearsight[postgresql]")
    tools = programs()
    if tools is None or shutil.which("openssl") is None:
        pytest.skip("PostgreSQL is not installed: scripts/apt.sh /usr/bin/psql postgresql")
    user = unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="clearsight-pg-"))
    server = Server(folder, _free_port())
    try:
        if user is not None:
            shutil.chown(folder, user)
        _make(tools, server, user)
        process = _start(tools, server, user)
        try:
            yield _ready(server, process)
        finally:
            process.send_signal(signal.SIGQUIT)  # nothing of it is kept
            process.wait(START_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(tools: Path, server: Server, user: str | None) -> None:
    def call(*command: object) -> None:
        words = [str(word) for word in command]
        options = {"cwd": server.folder, "timeout": 120, "capture_output": True, "check": True}
        subprocess.run(words, user=user, **options)  # type: ignore[call-overload]

    call(tools / "initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
         "--locale=C", "-N")  # fmt: skip
    call("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", "server.key", "-out", "server.pem")  # fmt: skip
    call("chmod", "600", "server.key")
    call("chmod", "755", server.folder)


def _start(tools: Path, server: Server, user: str | None) -> subprocess.Popen[bytes]:
    files = {"ssl_cert_file": server.certificate, "ssl_key_file": server.folder / "server.key"}
    settings = {"listen_addresses": "127.0.0.1", "port": server.port, "ssl": "on", "fsync": "off"}
    command = [tools / "postgres", "-D", server.folder / "data", "-k", server.folder]
    for name, value in {**settings, **files}.items():
        command += ["-c", f"{name}={value}"]
    return subprocess.Popen(
        [str(word) for word in command],
        user=user,
        cwd=server.folder,
        stdout=subprocess.DEVNULL,
        stderr=(server.folder / "log").open("wb"),
    )


def fresh_database(server: Server) -> str:
    """Return the URL of an empty database."""
    if server.free:
        name = server.free.pop()
    else:
        name = f"test{len(server.taken)}"
        _execute(server, f"CREATE DATABASE {name}")
    server.taken.append(name)
    return f"postgresql://postgres@/{name}?unix_sock={server.socket}"


def empty_again(server: Server) -> None:
    """Empty every database that was taken, whoever is still connected to it."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND "
    others += "pid <> pg_backend_pid()"
    while server.taken:
        name = server.taken.pop()
        _execute(server, others.format(name))
        _execute(server, "DROP SCHEMA public CASCADE", name)
        _execute(server, "CREATE SCHEMA public", name)
        server.free.append(name)


def _ready(server: Server, process: subprocess.Popen[bytes]) -> Server:
    until = time.monotonic() + START_S
    while True:
        try:
            _execute(server, "SELECT 1")
        except Exception:  # noqa: BLE001 - it is still starting
            assert process.poll() is None, (server.folder / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.05)
        else:
            return server


def _execute(server: Server, statement: str, database: str = "postgres") -> None:
    import pg8000.native

    connection = pg8000.native.Connection(
        "postgres", database=database, unix_sock=str(server.socket)
    )
    try:
        connection.run(statement)
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
