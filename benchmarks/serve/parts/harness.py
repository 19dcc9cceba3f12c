"""What the benchmarks of the service share: pictures, Bundles, processes and their costs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

PARTS = Path(__file__).parent
sys.path.insert(0, str(PARTS.parents[1]))

from clearsight.client.load.measure import measure, measure_requests  # noqa: E402
from clearsight.client.load.plan import LoadPlan  # noqa: E402
from clearsight.client.load.requests import Ask  # noqa: E402

__all__ = ["Ask", "LoadPlan", "measure", "measure_requests"]

MARK = "CLEARSIGHT_CONTENDER"
WORK = Path(tempfile.gettempdir()) / "clearsight-bench"
NETWORKS = {"lite0": "tf_efficientnet_lite0", "resnet50": "resnet50"}
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def picture(width: int = 500, height: int = 375, seed: int = 0) -> bytes:
    """A JPEG with detail at every scale; 500 x 375 has about 60 kB."""
    generator = np.random.default_rng(seed)
    canvas = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 10):
        noise = generator.normal(size=(2**octave, 2**octave, 3)).astype(np.float32)
        resized = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        canvas += resized * 2 ** (-0.7 * octave)
    canvas = (canvas - canvas.min()) / np.ptp(canvas) * 255
    pixels = canvas.astype(np.uint8)
    return simplejpeg.encode_jpeg(pixels, quality=90, colorspace="RGB", colorsubsampling="420")


def pictures(count: int = 16) -> list[bytes]:
    """Different pictures, so that no cache answers."""
    return [picture(seed=seed) for seed in range(count)]


def bundle(network: str, work: Path = WORK) -> Path:
    """The Bundle of a network with random weights, written once."""
    path = work / f"{network}-random"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, PARTS / "lite0_bundle.py", path, NETWORKS[network]]
        subprocess.run(command, check=True)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def two_cores() -> None:
    """Everything runs on the same two cores, load generator included."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))


class Contender:
    """A program and every process it starts: measured, and stopped while others have their turn.

    All stay in this program's session: Linux shares a busy machine out by session (autogroup), and
    who has two would get twice as much.
    """

    def __init__(self, name: str, command: list, env: dict | None = None, **options) -> None:
        self.name = name
        self.command = [str(item) for item in command]
        self.mark = f"{name.replace(' ', '-')}-{os.getpid()}-{time.monotonic_ns()}"
        environment = {**os.environ, **(env or {}), MARK: self.mark}
        self.process = subprocess.Popen(self.command, env=environment, **options)

    def members(self) -> list[int]:
        """Every living process that carries the mark, whoever started it."""
        needle = f"{MARK}={self.mark}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if needle in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    def signal(self, number: int) -> None:
        for pid in self.members():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)

    def end(self) -> None:
        for _ in range(5):
            self.signal(signal.SIGKILL)
            self.process.poll()
            if not self.members():
                break
            time.sleep(0.2)
        self.process.wait()

    def cpu_s(self) -> float:
        """Processor seconds of all its processes so far."""
        return sum(self._stat(pid)[0] for pid in self.members())

    def rss_mb(self) -> float:
        """Resident memory of all its processes."""
        return sum(self._stat(pid)[1] for pid in self.members())

    @staticmethod
    def _stat(pid: int) -> tuple[float, float]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0, 0.0
        page_mb = os.sysconf("SC_PAGE_SIZE") / 2**20
        return (int(fields[11]) + int(fields[12])) * TICK_S, int(fields[21]) * page_mb


class Clearsight(Contender):
    """`clearsight serve` as its users start it.

    Args:
        bundles: what it serves.
        options: of the command line.
    """

    def __init__(self, bundles: list[Path], *options, name: str = "clearsight", env=None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "clearsight", "serve", *bundles, "--port", self.port]
        # nobody's own models and keys, and byte code kept as in every installation
        apart = {"XDG_DATA_HOME": str(WORK / "data"), "PYTHONDONTWRITEBYTECODE": ""}
        super().__init__(name, [*command, *options], apart | (env or {}), stdout=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Clearsight:
        wait_for_answer(self.url + "/readyz", None, {}, 120, self)
        return self

    def __exit__(self, *_) -> None:
        self.end()

    def first_answer(self, body: bytes) -> dict:
        request = urllib.request.Request(f"{self.url}/v1/recognize", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def status(self) -> dict[str, int]:
        """Resident memory in kB, threads and open descriptors."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return {
            "rss_kb": int(re.search(r"VmRSS:\s+(\d+)", text)[1]),
            "threads": int(re.search(r"Threads:\s+(\d+)", text)[1]),
            "descriptors": len(os.listdir(f"/proc/{self.pid}/fd")),
        }


def wait_for_answer(url: str, body, headers: dict, seconds: float, contender: Contender) -> None:
    """Wait until a server answers this request with a 2xx."""
    ends = time.monotonic() + seconds
    why = "nothing"
    while time.monotonic() < ends:
        if contender.process.poll() is not None:
            raise SystemExit(f"{contender.name} ended: {contender.process.returncode}")
        try:
            request = urllib.request.Request(url, body, headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
                return
        except OSError as error:  # a refusal counts as one: urllib's errors are OSErrors
            why = str(error)
            time.sleep(0.05)
    raise SystemExit(f"{contender.name} gave no answer at {url}: {why}")


def capacity(url: str, encoded: list[bytes], seconds: float = 8, clients: int = 8) -> dict:
    """Return what a closed loop gets out of a service."""
    plan = LoadPlan(clients=clients, time_s=seconds, warm_up_s=2)
    return measure(url, encoded, plan).to_json()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
