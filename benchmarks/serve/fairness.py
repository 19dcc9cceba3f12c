"""One key at ten times its rate: what the others notice (CHECK 24).

    python benchmarks/serve/fairness.py [--network lite0] [--rounds 3] [--seconds 20]

A modest key sends 40 % of what the service can answer, a greedy one is allowed 20 %. It sends that
much, then ten times as much, in turn; what counts is the modest key's p99 in the second beside the
first of the same round. The same once more with a greedy key that has no limit is the control. Load
generators (one process each) and service share two cores. Takes about 5 minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

HERE = Path(__file__).parent
MODEST, GREEDY, TIMES, LIMIT = 0.4, 0.2, 10.0, 1.2
TARGET = "/v1/recognize"


def keys(store: Path, *arguments: str) -> str:
    """Run `clearsight keys` and return the new key."""
    command = [sys.executable, "-m", "clearsight", "keys", *arguments, "--store", str(store)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["key"]


def load(url: str, key: str, files: list[str], seconds: float, **how: float) -> subprocess.Popen:
    """Start a load generator in a process of its own."""
    told = {
        "url": url,
        "target": TARGET,
        "headers": {"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"},
        "bodies": files,
        "time_s": seconds,
        "warm_up_s": 2.0,
        **how,
    }
    process = subprocess.Popen(
        [sys.executable, harness.PARTS / "load.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdin.write(json.dumps(told))
    process.stdin.close()
    process.stdin = None
    return process


def found(process: subprocess.Popen) -> dict:
    return json.loads(process.communicate()[0])


def together(url: str, modest: tuple[str, float], greedy: tuple[str, float], files, seconds):
    """Return what the modest key saw while the greedy one sent, and what the greedy one saw."""
    running = [load(url, key, files, seconds, rate=rate) for key, rate in (modest, greedy)]
    return [found(process) for process in running]


def rounds_of(url: str, capacity: float, modest: str, greedy: str, files, options) -> dict:
    """Return the modest key's p99 beside a greedy one within its rate and beyond it, each round."""
    within, beyond, refused, lost = [], [], [], 0
    for _ in range(options.rounds):
        for times, kept in ((1.0, within), (TIMES, beyond)):
            share = capacity * GREEDY * times
            ours, theirs = together(
                url, (modest, capacity * MODEST), (greedy, share), files, options.seconds
            )
            kept.append(ours["latency_ms"]["p99"])
            lost += ours["sent"] - ours["answered"]
        refused.append(theirs["refused"] / max(1, theirs["sent"]))
        harness.say(f"modest p99: {within[-1]:.1f} ms, then {beyond[-1]:.1f} ms")
    return {"within": within, "beyond": beyond, "refused": refused, "lost": lost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lite0", choices=sorted(harness.NETWORKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    harness.two_cores()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), options)
    write(options, measured)


def measure(folder: Path, options: argparse.Namespace) -> dict:
    store, files = folder / "store", []
    for number, encoded in enumerate(harness.pictures()):
        path = folder / f"{number}.jpg"
        path.write_bytes(encoded)
        files.append(str(path))
    modest = keys(store, "create", "--name", "modest")
    boundless = keys(store, "create", "--name", "boundless")
    service = harness.Clearsight([harness.bundle(options.network)], "--store", store)
    with service:
        full = found(load(service.url, modest, files, 8.0, clients=8))["answers_per_s"]
        rate = f"{full * GREEDY:.2f}/s"
        greedy = keys(store, "create", "--name", "greedy", "--rate", rate)
        limited = rounds_of(service.url, full, modest, greedy, files, options)
        control = rounds_of(service.url, full, modest, boundless, files, options)
    return {"capacity": full, "limited": limited, "control": control}


def write(options: argparse.Namespace, measured: dict) -> None:
    limited, control = measured["limited"], measured["control"]
    ratio, without = (
        statistics.median(b / w for w, b in zip(one["within"], one["beyond"], strict=True))
        for one in (limited, control)
    )
    of = record.Measurement.of
    out = options.out or HERE / "results" / f"fairness-{options.network}.json"
    record.Record(
        name=f"serve, fairness between keys, {options.network}",
        command=f"python benchmarks/serve/fairness.py --network {options.network} "
        f"--rounds {options.rounds} --seconds {options.seconds:g}",
        machine=record.machine(),
        versions=record.versions("clearsight", "onnxruntime", "openvino", "uvicorn", "sqlalchemy"),
        commit=record.commit(),
        measurements=[
            of("capacity", "pictures/s", [measured["capacity"]]),
            of("modest p99, greedy within its rate", "ms", limited["within"]),
            of("modest p99, greedy at ten times its rate", "ms", limited["beyond"]),
            of("share of the greedy key's requests refused", "share", limited["refused"]),
            of("modest p99, other key at a fifth", "ms", control["within"]),
            of("modest p99, other key at ten times that, no limit", "ms", control["beyond"]),
        ],
        claims=[
            record.Claim(text="Modest p99 beside a key at ten times its rate, to within it",
                         target=LIMIT, got=round(ratio, 3), met=ratio <= LIMIT),
            record.Claim(text="Modest requests without an answer", target=0,
                         got=limited["lost"], met=limited["lost"] == 0),
            record.Claim(text="Control: the same without a limit is beyond the bound",
                         target=LIMIT, got=round(without, 3), met=without > LIMIT),
        ],
    ).write(out)  # fmt: skip
    print(out.read_text())


if __name__ == "__main__":
    main()
