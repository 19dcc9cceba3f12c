"""JPEG in, labels out: the service beside its in-process ceiling and beside LitServe.

    python benchmarks/serve/throughput.py [--engine onnxruntime] [--rounds 5] [--seconds 6]

The ceiling is the same predictor (decode, resize, engine) in a closed loop of one thread a core,
without transport. Service and LitServe are driven by wrk with 8 connections on the same two cores.
The three take turns, and whoever does not have its turn is stopped (SIGSTOP).

Two ratios are taken in every round: of rates (what a user sees; other work on the machine disturbs
it) and of processor time a picture, load generator included (what the transport costs; other work
hardly matters). Takes about 2 minutes; needs wrk and, once, network for LitServe's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

sys.path.insert(0, str(Path(__file__).parents[1]))
import record

HERE = Path(__file__).parent
PARTS = HERE / "parts"
SOURCE = HERE.parents[1] / "src"
CONNECTIONS = 8
LITSERVE_PACKAGES = (
    "litserve",
    "python-multipart",
    "onnxruntime",
    "openvino",
    "simplejpeg",
    "opencv-python-headless",
    "pillow",
    "pydantic",
    "numpy",
)
SERVE = """
import sys
from pathlib import Path
from clearsight.serve.run import Door, serve
serve([Path(sys.argv[1])], Door(port=int(sys.argv[2])), engine=sys.argv[3])
"""


def picture() -> bytes:
    """A 500 x 375 JPEG with detail at every scale, about 60 kB."""
    generator = np.random.default_rng(0)
    canvas = np.zeros((375, 500, 3), np.float32)
    for octave in range(1, 10):
        noise = generator.normal(size=(2**octave, 2**octave, 3)).astype(np.float32)
        canvas += cv2.resize(noise, (500, 375), interpolation=cv2.INTER_CUBIC) * 2 ** (
            -0.7 * octave
        )
    canvas = (canvas - canvas.min()) / np.ptp(canvas) * 255
    pixels = canvas.astype(np.uint8)
    return simplejpeg.encode_jpeg(pixels, quality=90, colorspace="RGB", colorsubsampling="420")


class Contender:
    """A process group that is measured, and stopped while the others are."""

    def __init__(self, name: str, command: list[str], **options) -> None:
        self.name = name
        self.process = subprocess.Popen(command, start_new_session=True, **options)

    def pause(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def cpu_s(self) -> float:
        """Processor seconds of every process of the group so far."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == self.process.pid:  # process group
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class Ceiling(Contender):
    def measure(self, seconds: float) -> tuple[float, float]:
        before = self.cpu_s()
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        rate = float(self.process.stdout.readline())
        return rate, (self.cpu_s() - before) / (rate * seconds)


class Server(Contender):
    def __init__(self, name, command, url, way, jpeg, **options) -> None:
        super().__init__(name, command, **options)
        self.url, self.way, self.jpeg = url, way, jpeg

    def wait_until_up(self) -> None:
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            try:
                with socket.create_connection(self.address(), timeout=1):
                    time.sleep(1)
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.name} did not start")

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.url.split(":")[2].split("/")[0])

    def measure(self, seconds: float) -> tuple[float, float]:
        before = self.cpu_s() + _children_s()
        command = [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds:g}s",
            "-s",
            str(PARTS / "post.lua"),
            self.url,
            "--",
            str(self.jpeg),
            self.way,
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in said or "Socket errors" in said:
            raise SystemExit(f"{self.name} failed requests:\n{said}")
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
        count = int(re.search(r"(\d+) requests in", said)[1])
        return rate, (self.cpu_s() + _children_s() - before) / count


def _children_s() -> float:
    """Processor seconds of ended children: the load generator's."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def litserve_python(work: Path) -> Path:
    """Make LitServe's own environment, once."""
    python = work / "litserve" / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        if Path(uv).exists():
            subprocess.run([uv, "venv", "-q", "-p", sys.executable, work / "litserve"], check=True)
            install = [uv, "pip", "install", "-q", "--python", python]
        else:
            subprocess.run([sys.executable, "-m", "venv", work / "litserve"], check=True)
            install = [python, "-m", "pip", "install", "-q"]
        subprocess.run([*install, *LITSERVE_PACKAGES], check=True)
    return python


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def contenders(work: Path, engine: str, threads: int) -> list[Contender]:
    bundle, jpeg = work / "lite0", work / "picture.jpg"
    if not bundle.exists():
        subprocess.run([sys.executable, PARTS / "lite0_bundle.py", bundle], check=True)
    jpeg.write_bytes(picture())
    ceiling = Ceiling(
        "ceiling",
        [sys.executable, str(PARTS / "ceiling.py"), str(bundle), str(jpeg), str(threads), engine],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ceiling.process.stdout.readline() == "ready\n"
    ports = free_port(), free_port()
    ours = Server(
        "clearsight",
        [sys.executable, "-c", SERVE, str(bundle), str(ports[0]), engine],
        f"http://127.0.0.1:{ports[0]}/v1/recognize",
        "raw",
        jpeg,
    )
    ours.wait_until_up()
    theirs = Server(
        "litserve",
        [
            str(litserve_python(work)),
            str(PARTS / "litserve_app.py"),
            str(bundle),
            str(ports[1]),
            str(threads),
            engine,
        ],
        f"http://127.0.0.1:{ports[1]}/predict",
        "multipart",
        jpeg,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stderr=subprocess.DEVNULL,
    )
    theirs.wait_until_up()
    for server in (ours, theirs):  # workers may still be loading
        await_answer(server)
    return [ceiling, ours, theirs]


def await_answer(server: Server) -> None:
    body = server.jpeg.read_bytes()
    kind = "image/jpeg"
    if server.way == "multipart":
        head = b'--a\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        body, kind = head + body + b"\r\n--a--\r\n", "multipart/form-data; boundary=a"
    request = urllib.request.Request(server.url, body, {"Content-Type": kind})
    for _ in range(4):
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert len(json.load(answer)["predictions"]) == 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="onnxruntime", choices=["onnxruntime", "openvino"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "clearsight-bench")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark drives the servers with wrk: apt-get install wrk.")
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
    options.work.mkdir(parents=True, exist_ok=True)
    everyone = contenders(options.work, options.engine, len(os.sched_getaffinity(0)))
    rates: dict[str, list[float]] = {one.name: [] for one in everyone}
    costs: dict[str, list[float]] = {one.name: [] for one in everyone}
    try:
        for one in everyone:
            one.pause()
        for number in range(options.rounds + 1):
            for one in everyone[number % 3 :] + everyone[: number % 3]:
                one.go_on()
                rate, cost = one.measure(options.seconds)
                one.pause()
                if number:  # the first round warms up
                    rates[one.name].append(rate)
                    costs[one.name].append(cost * 1000)
                    print(f"{one.name:>10} {rate:7.1f}/s {cost * 1000:6.2f} ms", file=sys.stderr)
    finally:
        for one in everyone:
            one.end()
    write(options, rates, costs)


def write(options: argparse.Namespace, rates: dict, costs: dict) -> None:
    def share(of: dict, name: str, other: str) -> list[float]:
        return [a / b for a, b in zip(of[name], of[other], strict=True)]

    ours = record.Measurement.of(
        "rate: clearsight / ceiling", "ratio", share(rates, "clearsight", "ceiling")
    )
    beside = record.Measurement.of(
        "rate: clearsight / litserve", "ratio", share(rates, "clearsight", "litserve")
    )
    measurements = [
        *(record.Measurement.of(f"rate: {name}", "pictures/s", rates[name]) for name in rates),
        *(
            record.Measurement.of(f"processor: {name}", "ms a picture", costs[name])
            for name in costs
        ),
        ours,
        record.Measurement.of(
            "rate: litserve / ceiling", "ratio", share(rates, "litserve", "ceiling")
        ),
        beside,
        record.Measurement.of(
            "processor: ceiling / clearsight", "ratio", share(costs, "ceiling", "clearsight")
        ),
        record.Measurement.of(
            "processor: ceiling / litserve", "ratio", share(costs, "ceiling", "litserve")
        ),
    ]
    claims = [
        record.Claim(
            text="Share of the in-process ceiling that the service reaches",
            target=0.95,
            got=ours.median,
            met=ours.median >= 0.95,
        ),
        record.Claim(
            text="Rate beside LitServe on the same model, decode, resize and engine",
            target=1.0,
            got=beside.median,
            met=beside.median >= 1.0,
        ),
    ]
    out = options.out or HERE / "results" / f"throughput-{options.engine}.json"
    record.Record(
        name=f"serve throughput, EfficientNet-Lite0 224, {options.engine}",
        command=f"python benchmarks/serve/throughput.py --engine {options.engine} "
        f"--rounds {options.rounds} --seconds {options.seconds:g}",
        machine=record.machine(),
        versions={
            **record.versions("clearsight", "onnxruntime", "openvino", "uvicorn", "simplejpeg"),
            "litserve": litserve_version(options.work),
        },
        commit=record.commit(),
        measurements=measurements,
        claims=claims,
    ).write(out)
    print(out.read_text())


def litserve_version(work: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('litserve'))"
    python = work / "litserve" / "bin" / "python"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
