"""From the start of the process until the service takes requests, EfficientNet-Lite0.

    python benchmarks/serve/startup.py [--rounds 7]

The first round warms the disk cache and is not counted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import record

HERE = Path(__file__).parent
PROGRAM = """
import os, sys, time
from pathlib import Path
from clearsight.serve.run import Door, serve
def ready(url):
    print(time.process_time(), "torch" in sys.modules, flush=True)
    os._exit(0)
serve([Path(sys.argv[1])], Door(port=0), engine=sys.argv[2], on_ready=ready)
"""


def start(bundle: Path, engine: str) -> tuple[float, float]:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, bundle, engine], capture_output=True, text=True, check=True
    )
    wall_s = time.perf_counter() - started
    cpu_s, torch = done.stdout.split()
    assert torch == "False", "serving imported torch"
    return wall_s, float(cpu_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "clearsight-bench")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "startup.json")
    options = parser.parse_args()
    bundle = options.work / "lite0"
    if not bundle.exists():
        options.work.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, HERE / "parts" / "lite0_bundle.py", bundle], check=True)
    measurements, claims = [], []
    for engine in ("onnxruntime", "openvino"):
        start(bundle, engine)
        pairs = [start(bundle, engine) for _ in range(options.rounds)]
        wall, cpu = zip(*pairs, strict=True)
        measurements.append(record.Measurement.of(f"{engine}: until ready", "s", list(wall)))
        measurements.append(record.Measurement.of(f"{engine}: processor", "s", list(cpu)))
        got = measurements[-2].median
        claims.append(
            record.Claim(
                text=f"Ready within a second with {engine}", target=1.0, got=got, met=got < 1.0
            )
        )
    record.Record(
        name="serve start-up, EfficientNet-Lite0 224",
        command=f"python benchmarks/serve/startup.py --rounds {options.rounds}",
        machine=record.machine(),
        versions=record.versions("clearsight", "onnxruntime", "openvino", "uvicorn", "numpy"),
        commit=record.commit(),
        measurements=measurements,
        claims=claims,
    ).write(options.out)
    print(options.out.read_text())


if __name__ == "__main__":
    main()
