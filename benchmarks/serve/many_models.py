"""Twenty models in a memory that holds about five: no failure, and how long a cold one takes.

    python benchmarks/serve/many_models.py [--models 20] [--memory 500MB] [--seconds 30]

Twenty networks of the same kind with different weights. First every model is asked once (compiled
and cached), then they are asked at random by four clients, then each cold model is timed alone: a
request to a model that was asked longest ago, less a request to the same model right after.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

HERE = Path(__file__).parent
COLD_S, CLIENTS = 0.5, 4
VARIANTS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import lite0_bundle
for seed in range(int(sys.argv[3])):
    out = Path(sys.argv[2]) / f"model-{seed:02}"
    if not out.exists():
        lite0_bundle.write(out, seed=seed)
"""


def bundles(count: int) -> list[Path]:
    folder = harness.WORK / "many"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", VARIANTS, harness.PARTS, folder, str(count)]
    subprocess.run(command, check=True)
    return [folder / f"model-{number:02}" for number in range(count)]


def ask(url: str, name: str, body: bytes) -> tuple[str, float]:
    started = time.perf_counter()
    request = urllib.request.Request(f"{url}/v1/recognize?model={name}", body)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
            status = str(answer.status)
    except urllib.error.HTTPError as error:
        status = str(error.code)
    return status, time.perf_counter() - started


def at_random(url: str, names: list[str], body: bytes, seconds: float) -> Counter:
    """Four clients ask models at random; return how requests ended."""
    counts: Counter = Counter()
    ends = time.monotonic() + seconds

    def client(seed: int) -> None:
        draw = random.Random(seed)
        while time.monotonic() < ends:
            counts[ask(url, draw.choice(names), body)[0]] += 1

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--memory", default="500MB")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "many-models.json")
    options = parser.parse_args()
    harness.two_cores()
    body, paths = harness.picture(), bundles(options.models)
    names = [path.name for path in paths]
    cold, warm, peak = [], [], 0.0
    with harness.Clearsight(paths, "--memory", options.memory) as service:
        first = [ask(service.url, name, body) for name in names]
        counts = Counter(status for status, _ in first)
        counts += at_random(service.url, names, body, options.seconds)
        peak = service.status()["rss_kb"] / 1024
        for name in [*names, *names]:
            status, took = ask(service.url, name, body)
            again, quick = ask(service.url, name, body)
            counts.update([status, again])
            cold.append(took - quick)
            warm.append(quick)
        peak = max(peak, service.status()["rss_kb"] / 1024)
    harness.say(str(counts))
    of = record.Measurement.of
    load = of("cold load", "s", cold)
    failed = sum(count for status, count in counts.items() if status != "200")
    record.Record(
        name=f"serve, {options.models} models in {options.memory}",
        command=f"python benchmarks/serve/many_models.py --models {options.models} "
        f"--memory {options.memory} --seconds {options.seconds:g}",
        machine=record.machine(),
        versions=record.versions("clearsight", "onnxruntime", "openvino"),
        commit=record.commit(),
        measurements=[
            load,
            of("first load, not cached", "s", [seconds for _, seconds in first]),
            of("warm request", "s", warm),
            of("resident memory", "MB", [peak]),
            of("requests", "count", [sum(counts.values())]),
        ],
        claims=[
            record.Claim(text="Failed requests", target=0, got=failed, met=failed == 0),
            record.Claim(text="Cold load from the compiled cache, s (median)", target=COLD_S,
                         got=load.median, met=load.median <= COLD_S),
        ],
    ).write(options.out)  # fmt: skip
    print(options.out.read_text())


if __name__ == "__main__":
    main()
