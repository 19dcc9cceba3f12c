"""The service in a process of its own, as its users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_S = 60
PROGRAM = """
import json, sys
{before}
from pathlib import Path
from clearsight.serve.run import serve
from clearsight.serve.service import ServiceLimits
paths, host, limits = json.loads(sys.argv[1])
def ready(url):
    modules = sorted({{name.split(".")[0] for name in sys.modules}})
    print(json.dumps({{"url": url, "modules": modules}}), flush=True)
serve([Path(path) for path in paths], host, 0, ServiceLimits(**limits), on_ready=ready)
"""


@dataclass
class RunningService:
    """A service that takes requests.

    Args:
        url: where, without a slash at the end.
        process: its process; stdout is its own.
        modules: top-level modules it had imported when it was ready.
        seconds: from the start of the process until it was ready.
    """

    url: str
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
    models: Sequence[Path], before: str = "", **limits: Any
) -> Iterator[RunningService]:
    """Run `serve` on a free port of the loopback in a subprocess; kill it at the end.

    Args:
        models: RUN or Bundle folders.
        before: Python statements run before clearsight is imported.
        limits: see `ServiceLimits`.
    """
    arguments = json.dumps([[str(path) for path in models], "127.0.0.1", limits])
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - this interpreter, our own program
        [sys.executable, "-c", PROGRAM.format(before=before), arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the service did not start; exit code {process.wait(START_S)}"
        said = json.loads(line)
        yield RunningService(said["url"], process, said["modules"], time.monotonic() - started)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
