"""From the start of the process to the first answer, and what it holds when it has nothing to do.

    python benchmarks/serve/cold_start.py [--network lite0] [--rounds 7]

The command line as its users type it. The first round fills the disk cache (and the cache of
compiled models, where there is one) and is shown apart.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

HERE = Path(__file__).parent
ANSWER_S, IDLE_MB = 1.5, 250.0


def start(bundle: Path, body: bytes, extra: list[str]) -> dict[str, float]:
    started = time.perf_counter()
    service = harness.Clearsight([bundle], *extra)
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", service.port), timeout=1):
                    break
            except OSError:
                if service.process.poll() is not None:
                    raise SystemExit("the service ended") from None
                time.sleep(0.002)
        request = urllib.request.Request(f"{service.url}/v1/recognize", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
        took = time.perf_counter() - started
        time.sleep(2)
        return {
            "first answer": took,
            "processor": service.cpu_s(),
            "idle memory": service.status()["rss_kb"] / 1024,
        }
    finally:
        service.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lite0", choices=sorted(harness.NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--engine", help="default: what the service chooses")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    harness.two_cores()
    bundle, body = harness.bundle(options.network), harness.picture()
    extra = [] if options.engine is None else ["--engine", options.engine]
    model_mb = (bundle / "model.onnx").stat().st_size / 2**20
    first, *rows = [start(bundle, body, extra) for _ in range(options.rounds + 1)]
    of = record.Measurement.of
    store = ["--store", harness.WORK / "store"]
    with_store = [start(bundle, body, [*extra, *store])["first answer"] for _ in range(4)][1:]
    units = {"first answer": "s", "processor": "s", "idle memory": "MB"}
    found = {name: of(name, unit, [row[name] for row in rows]) for name, unit in units.items()}
    answer, idle = found["first answer"].median, found["idle memory"].median - model_mb
    name = f"{options.network}-{options.engine or 'chosen'}"
    record.Record(
        name=f"serve, cold start, {name}",
        command=f"python benchmarks/serve/cold_start.py --network {options.network} "
        f"--rounds {options.rounds}" + (f" --engine {options.engine}" if options.engine else ""),
        machine=record.machine(),
        versions=record.versions("clearsight", "onnxruntime", "openvino", "uvicorn", "numpy"),
        commit=record.commit(),
        measurements=[
            *found.values(),
            of("first answer, with keys and registry", "s", with_store),
            of("first answer, very first start", "s", [first["first answer"]]),
            of("model file", "MB", [model_mb]),
        ],
        claims=[
            record.Claim(text="Start to first answer, s", target=ANSWER_S, got=answer,
                         met=answer < ANSWER_S),
            record.Claim(text="Idle memory less the model file, MB", target=IDLE_MB,
                         got=round(idle, 1), met=idle < IDLE_MB),
        ],
    ).write(out := options.out or HERE / "results" / f"cold-start-{name}.json")  # fmt: skip
    print(out.read_text())


if __name__ == "__main__":
    main()
