"""JPEG in, labels out: the service beside its in-process ceiling and five other servers.

    python benchmarks/serve/peers.py [--network lite0] [--bundle DIR] [--engine onnxruntime]
                                     [--rounds 5] [--seconds 8] [--only litserve,ray]

Every server runs the same Bundle with the same decode, resize and engine, as its documentation
shows (see `peers/*.py` for each choice and its page), in an environment of its own that is made
once under the system's folder for temporary files. One load generator, ours, drives all of them
with eight waiting clients from the same two cores; the ceiling is a closed loop without transport.
They take turns, round after round, and who does not have its turn is stopped.

Two ratios in every round: of rates, and of processor time a picture, load generator included, which
other work on the machine disturbs less. The service is measured with the peers' engine, with the
engine that it chooses by itself (the same precision) and, with `--bundle` of a Bundle that
`clearsight optimize` gave a variant, with that.

Keep the machine quiet: Linux shares a busy one out by session (autogroup), and some of these
servers start sessions of their own and would get more of it.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

from clearsight.core.bundle import open_bundle, write_bundle

HERE = Path(__file__).parent
PEERS = HERE / "peers"
SOURCE = HERE.parents[1] / "src"
CLIENTS, CORES = 8, 2
PIPELINE = (
    *("onnxruntime", "openvino", "simplejpeg", "opencv-python-headless", "pillow", "pydantic"),
    *("numpy", "jinja2"),
)
BOUNDARY = "bench-7d1f"


@dataclass(frozen=True)
class Peer:
    """How one other server is installed, started and asked.

    Args:
        packages: what is installed beside the pipeline.
        command: its start, in the environment's folder of programs; {port}, {free}, {work} are
            filled in.
        target: path of a request.
        way: how a picture is sent: multipart, raw, b64 or oip-b64.
        env: beside what the pipeline needs.
    """

    packages: tuple[str, ...]
    command: tuple[str, ...]
    target: str
    way: str
    env: dict[str, str] = field(default_factory=dict)


SERVERS = {
    "litserve": Peer(
        ("litserve", "python-multipart"), ("python", "litserve_app.py"), "/predict", "multipart"
    ),
    "bentoml": Peer(
        ("bentoml", "uvloop", "httptools"),
        ("bentoml", "serve", "bentoml_app:Recognizer", "--host", "127.0.0.1", "--port", "{port}"),
        "/classify",
        "multipart",
        {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{work}"},
    ),
    "ray": Peer(
        ("ray[serve]",),
        ("python", "ray_app.py"),
        "/",
        "raw",
        {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"},
    ),
    "mlserver": Peer(
        ("mlserver", "uvloop<0.22"),  # newer ones end its workers at their start
        ("python", "mlserver_app.py", "{work}", "{free}", "{free}"),
        "/v2/models/recognizer/infer",
        "oip-b64",
    ),
    "kserve": Peer(
        ("kserve",),
        ("python", "kserve_app.py", "--log_config_file", "kserve_log.json"),
        "/v1/models/recognizer:predict",
        "b64",
    ),
}


def request_of(way: str, picture: bytes) -> tuple[dict[str, str], bytes]:
    """Return headers and body that carry a picture."""
    text = base64.b64encode(picture).decode("ascii")
    if way == "multipart":
        disposition = 'form-data; name="image"; filename="a.jpg"'
        head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\nContent-Type: image/jpeg"
        body = head.encode() + b"\r\n\r\n" + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
        return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, body
    if way == "b64":
        value = {"instances": [{"image": {"b64": text}}]}
        return {"Content-Type": "application/json"}, json.dumps(value).encode()
    if way == "oip-b64":
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
        tensor["parameters"] = {"content_type": "base64"}
        return {"Content-Type": "application/json"}, json.dumps({"inputs": [tensor]}).encode()
    return {"Content-Type": "image/jpeg"}, picture


class Ceiling(harness.Contender):
    def __init__(self, bundle: Path, engine: str, work: Path) -> None:
        jpeg = work / "picture.jpg"
        jpeg.write_bytes(harness.picture())
        command = [sys.executable, harness.PARTS / "ceiling.py", bundle, jpeg, CORES, engine]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        super().__init__("ceiling", command, text=True, **pipes)
        assert self.process.stdout.readline() == "ready\n"

    def measure(self, seconds: float) -> dict[str, float]:
        before = self.cpu_s()
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        rate = float(self.process.stdout.readline())
        return {"rate": rate, "cpu_ms": 1000 * (self.cpu_s() - before) / (rate * seconds)}


class Server:
    """A contender that is asked over HTTP."""

    def __init__(self, contender: harness.Contender, url: str, target: str, way: str) -> None:
        self.contender, self.name, self.url, self.target = contender, contender.name, url, target
        self.specification = {"url": url, "target": target, "headers": {}, "bodies": []}
        for number, picture in enumerate(harness.pictures(8)):
            headers, body = request_of(way, picture)
            path = harness.WORK / f"body-{way}-{number}"
            path.write_bytes(body)
            self.specification["headers"] = headers
            self.specification["bodies"].append(str(path))

    def wait(self) -> None:
        body = Path(self.specification["bodies"][0]).read_bytes()
        headers = self.specification["headers"]
        for _ in range(4 * CORES):  # every worker has its engine open
            harness.wait_for_answer(self.url + self.target, body, headers, 180, self.contender)

    def measure(self, seconds: float) -> dict[str, float]:
        told = {**self.specification, "clients": CLIENTS, "time_s": seconds, "warm_up_s": 1.0}
        before = self.contender.cpu_s() + children_s()
        command = [sys.executable, harness.PARTS / "load.py"]
        done = subprocess.run(command, input=json.dumps(told), stdout=subprocess.PIPE, text=True)
        used = self.contender.cpu_s() + children_s() - before - START_S
        found = json.loads(done.stdout)
        if found["refused"] or found["lost"] or found["answered"] < found["sent"]:
            raise SystemExit(f"{self.name} failed: {found['statuses']} {found['errors']}")
        late = found["latency_ms"]
        share = seconds / (seconds + 1.0)  # the warm-up second cost processor time too
        pictures = found["replies_per_s"] * seconds / share
        return {
            "rate": found["answers_per_s"],
            "cpu_ms": 1000 * used / pictures,
            "p50": late["p50"],
            "p99": late["p99"],
        }


START_S = 0.0


def children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def generator_start_s() -> float:
    """Processor seconds that the load generator takes to start, which no server is charged."""
    before = children_s()
    code = "import clearsight.client.load.measure, uvloop"
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=True)
    return (children_s() - before) / 3


def environment(name: str, peer: Peer, work: Path) -> Path:
    """Make a peer's own environment, once; return its folder of programs."""
    place = work / "environments" / name
    programs = place / "bin"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        packages = [*peer.packages, *PIPELINE]
        if Path(uv).exists():
            subprocess.run([uv, "venv", "-q", "-p", sys.executable, place], check=True)
            command = [uv, "pip", "install", "-q", "--python", programs / "python", *packages]
        else:
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            command = [programs / "python", "-m", "pip", "install", "-q", *packages]
        subprocess.run(command, check=True)
        (place / "complete").touch()
    return programs


def version(programs: Path, package: str) -> str:
    name = package.split("[")[0]
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([programs / "python", "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def start_peer(name: str, bundle: Path, engine: str, work: Path) -> Server:
    peer, port = SERVERS[name], harness.free_port()
    programs = environment(name, peer, work)
    own = work / "state" / name
    own.mkdir(parents=True, exist_ok=True)

    def filled(text: str) -> str:
        free = str(harness.free_port())
        return text.format(port=port, work=own, free=free)

    command = [programs / peer.command[0], *(filled(item) for item in peer.command[1:])]
    env = {
        "PYTHONPATH": f"{PEERS}{os.pathsep}{SOURCE}",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HOME": str(own),  # where some of them leave files
        "BENCH_BUNDLE": str(bundle),
        "BENCH_ENGINE": engine,
        "BENCH_WORKERS": str(CORES),
        "BENCH_PORT": str(port),
        **{key: filled(text) for key, text in peer.env.items()},
    }
    log = (own / "log.txt").open("w")
    contender = harness.Contender(name, command, env, cwd=PEERS, stdout=log, stderr=log)
    server = Server(contender, f"http://127.0.0.1:{port}", peer.target, peer.way)
    server.wait()
    return server


def without_variants(bundle: Path, work: Path) -> Path:
    """Return the Bundle itself, or a copy of one that has variants without them."""
    opened = open_bundle(bundle)
    left_out = {variant.file for variant in opened.manifest.variants.values()}
    if not left_out:
        return bundle
    plain = work / f"{bundle.name}-plain"
    shutil.rmtree(plain, ignore_errors=True)
    about = opened.manifest.model_dump(exclude={"files", "format_version", "variants"})
    files = {name: opened.read(name) for name in opened.manifest.files if name not in left_out}
    return write_bundle(plain, about, files, lambda written: None).path


def start_clearsight(name: str, bundle: Path, *options: str) -> Server:
    contender = harness.Clearsight([bundle], *options, name=name)
    server = Server(contender, contender.url, "/v1/recognize", "raw")
    server.wait()
    return server


def measured(everyone: list, rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {one.name: {} for one in everyone}
    for number in range(rounds + 1):
        at = number % len(everyone)
        for one in everyone[at:] + everyone[:at]:
            process_of(one).go_on()
            time.sleep(0.5)
            row = one.measure(seconds if number else 2.0)
            process_of(one).pause()
            if number:  # the first round warms up
                for key, value in row.items():
                    found[one.name].setdefault(key, []).append(value)
            shown = "  ".join(f"{key} {value:7.2f}" for key, value in row.items())
            harness.say(f"round {number}  {one.name:>16}  {shown}")
    return found


def process_of(one: Ceiling | Server) -> harness.Contender:
    return one if isinstance(one, harness.Contender) else one.contender


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lite0", choices=sorted(harness.NETWORKS))
    parser.add_argument("--bundle", type=Path, help="in place of a network with random weights")
    parser.add_argument("--engine", default="onnxruntime", choices=["onnxruntime", "openvino"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--max-drop", type=float, default=0.5, help="points, of the variant")
    parser.add_argument("--only", default=",".join(SERVERS), help="peers, with commas")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    harness.two_cores()
    global START_S
    START_S = generator_start_s()
    work = harness.WORK
    work.mkdir(parents=True, exist_ok=True)
    bundle = options.bundle or harness.bundle(options.network)
    names = [name for name in options.only.split(",") if name]
    everyone: list = []
    try:
        plain = without_variants(bundle, work)
        engine, variants = options.engine, plain != bundle
        drop = ("--max-drop", options.max_drop)
        starts = [
            partial(Ceiling, bundle, engine, work),
            partial(start_clearsight, "clearsight", plain, "--engine", engine),
            partial(start_clearsight, "clearsight chosen", plain),
            *(
                [partial(start_clearsight, "clearsight optimized", bundle, *drop)]
                if variants
                else []
            ),
            *(partial(start_peer, name, bundle, engine, work) for name in names),
        ]
        for start in starts:  # one after another, and who is ready waits for its turn
            everyone.append(start())
            process_of(everyone[-1]).pause()
            harness.say(f"{everyone[-1].name} is ready")
        found = measured(everyone, options.rounds, options.seconds)
    finally:
        for one in everyone:
            process_of(one).end()
    write(options, found, names, work)


def write(options: argparse.Namespace, found: dict, names: list[str], work: Path) -> None:
    of = record.Measurement.of
    units = {"rate": "pictures/s", "cpu_ms": "ms a picture", "p50": "ms", "p99": "ms"}
    measurements = [
        of(f"{name}: {key}", units[key], values)
        for name, rows in found.items()
        for key, values in rows.items()
    ]

    def ratio(key: str, one: str, other: str) -> record.Measurement:
        pairs = zip(found[one][key], found[other][key], strict=True)
        return of(f"{key}: {one} / {other}", "ratio", [a / b for a, b in pairs])

    claims = []
    least_of = {"clearsight": 1.0, "clearsight chosen": 1.1, "clearsight optimized": 2.0}
    for ours, least in least_of.items():
        if ours not in found:
            continue
        ceiling = ratio("rate", ours, "ceiling")
        measurements += [ceiling, ratio("cpu_ms", "ceiling", ours)]
        if ours == "clearsight":
            claims.append(claim("Share of the in-process ceiling", 0.95, ceiling.median))
        ratios = [ratio("rate", ours, name) for name in names]
        measurements += [*ratios, *(ratio("cpu_ms", name, ours) for name in names)]
        if names:
            best = min(ratios, key=lambda item: item.median)
            claims.append(claim(f"{ours} beside the best peer ({best.name})", least, best.median))
            lates = [ratio("p99", ours, name) for name in names]
            worst = max(lates, key=lambda item: item.median)
            measurements += lates
            claims.append(claim(f"{ours}: {worst.name}", 1.0, worst.median, below=True))
    name = options.bundle.name if options.bundle else options.network
    arguments = (
        f"--engine {options.engine} --max-drop {options.max_drop:g} "
        f"--rounds {options.rounds} --seconds {options.seconds:g}"
    )
    commands = {f"{name} started by": " ".join(SERVERS[name].command) for name in names}
    environments = work / "environments"
    record.Record(
        name=f"serve beside its peers, {name}, {options.engine}",
        command="python benchmarks/serve/peers.py "
        + (f"--bundle {options.bundle.name} " if options.bundle else f"--network {name} ")
        + arguments,
        machine=record.machine(),
        versions={
            **record.versions("clearsight", "onnxruntime", "openvino", "uvicorn", "simplejpeg"),
            **{
                name: version(environments / name / "bin", SERVERS[name].packages[0])
                for name in names
            },
            **commands,
            "clearsight started by": f"clearsight serve BUNDLE --engine {options.engine}",
            "clearsight chosen started by": "clearsight serve BUNDLE",
        },
        commit=record.commit(),
        measurements=measurements,
        claims=claims,
    ).write(out := options.out or HERE / "results" / f"peers-{name}-{options.engine}.json")
    print(out.read_text())


def claim(text: str, target: float, got: float, below: bool = False) -> record.Claim:
    return record.Claim(
        text=text, target=target, got=got, met=got <= target if below else got >= target
    )


if __name__ == "__main__":
    main()
