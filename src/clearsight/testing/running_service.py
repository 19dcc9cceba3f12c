"""The service in a process of its own, as its users run it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_S = 60
PROGRAM = """
import json, sys
{before}
from pathlib import Path
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.run import Door, serve
paths, host, grpc_port, store, limits = json.loads(sys.argv[1])
def ready(serving):
    modules = sorted({{name.split(".")[0] for name in sys.modules}})
    print(json.dumps({{"url": serving.url, "grpc": serving.grpc, "modules": modules}}), flush=True)
serve(
    [Path(path) for path in paths],
    Door(host, 0, grpc_port),
    ServiceLimits(**limits),
    store=Path(store) if store else None,
    on_ready=ready,
)
"""


@dataclass
class RunningService:
    """A service that takes requests.

    Args:
        url: where, without a slash at the end.
        grpc: "host:port" of gRPC; None where it was not asked for.
        process: its process; stdout is its own.
        modules: top-level modules it had imported when it was ready.
        seconds: from the start of the process until it was ready.
    """

    url: str
    grpc: str | None
    process: subprocess.Popen[str]
    modules: list[str]
    seconds: float

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self.url.rsplit(":", 1)[1])

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def running_service(
    models: Sequence[Path],
    before: str = "",
    grpc: bool = False,
    store: Path | None = None,
    environment: Mapping[str, str] | None = None,
    **limits: Any,
) -> Iterator[RunningService]:
    """Run `serve` on a free port of the loopback in a subprocess; kill it at the end.

    Args:
        models: RUN or Bundle folders.
        before: Python statements run before clearsight is imported.
        grpc: open a port for gRPC too.
        store: its state folder; without one it has none, whatever this machine's user has.
        environment: variables beside this process's own.
        limits: see `ServiceLimits`.
    """
    grpc_port = 0 if grpc else None
    told = [[str(path) for path in models], "127.0.0.1", grpc_port, store and str(store), limits]
    arguments = json.dumps(told)
    nowhere = tempfile.mkdtemp(prefix="clearsight-test-")
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - this interpreter, our own program
        [sys.executable, "-c", PROGRAM.format(before=before), arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "XDG_DATA_HOME": nowhere,
            "XDG_CACHE_HOME": nowhere,
            **(environment or {}),
        },
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the service did not start; exit code {process.wait(START_S)}"
        said = json.loads(line)
        seconds = time.monotonic() - started
        yield RunningService(said["url"], said["grpc"], process, said["modules"], seconds)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        shutil.rmtree(nowhere, ignore_errors=True)
