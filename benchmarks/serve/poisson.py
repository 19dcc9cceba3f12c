"""Random arrivals at 70 % of capacity: how long do they take beside the service time?

    python benchmarks/serve/poisson.py [--network lite0] [--rounds 5] [--seconds 20]

The service time is the median answer of as many waiting clients as there are cores: both cores are
busy and nothing queues. Capacity is what eight waiting clients get. Both, and the random arrivals
(latency from the moment a request was due), are measured in every round; load generator included
on the same two cores. Beside it stands what theory allows: the p99 of the same arrivals at two
workers that take exactly two over capacity for each picture, first come, first served (M/D/2).
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

HERE = Path(__file__).parent
SHARE, TARGET = 0.7, 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lite0", choices=sorted(harness.NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    harness.two_cores()
    encoded = harness.pictures()
    rows = []
    with harness.Clearsight([harness.bundle(options.network)]) as service:
        for number in range(options.rounds):
            rows.append(measured(service.url, encoded, options.seconds, number))
    p99, p50, service_ms, rates, ideal = (list(column) for column in zip(*rows, strict=True))
    ratios = [a / b for a, b in zip(p99, service_ms, strict=True)]
    of = record.Measurement.of
    ratio = of("p99 / service time", "ratio", ratios)
    record.Record(
        name=f"serve, Poisson arrivals at {SHARE:.0%} of capacity, {options.network}",
        command=f"python benchmarks/serve/poisson.py --network {options.network} "
        f"--rounds {options.rounds} --seconds {options.seconds:g}",
        machine=record.machine(),
        versions=record.versions("clearsight", "onnxruntime", "openvino", "uvicorn"),
        commit=record.commit(),
        measurements=[
            of("service time, median", "ms", service_ms),
            of("capacity", "pictures/s", rates),
            of("latency p50", "ms", p50),
            of("latency p99", "ms", p99),
            ratio,
            of("p99 of ideal workers / service time", "ratio", ideal),
            of(
                "p99 / p99 of ideal workers",
                "ratio",
                [a / b for a, b in zip(ratios, ideal, strict=True)],
            ),
        ],
        claims=[
            record.Claim(
                text="p99 at 70 % of capacity as a multiple of the median service time",
                target=TARGET,
                got=ratio.median,
                met=ratio.median <= TARGET,
            )
        ],
    ).write(out := options.out or HERE / "results" / f"poisson-{options.network}.json")
    print(out.read_text())


def measured(url: str, encoded: list[bytes], seconds: float, seed: int) -> tuple[float, ...]:
    alone = harness.capacity(url, encoded, seconds / 4, clients=2)["latency_ms"]["p50"]
    rate = harness.capacity(url, encoded, seconds / 4)["answers_per_s"]
    plan = harness.LoadPlan(rate=SHARE * rate, time_s=seconds, warm_up_s=1, seed=seed)
    found = harness.measure(url, encoded, plan).to_json()
    if found["refused"] or found["lost"]:
        raise SystemExit(f"requests were not answered: {found['statuses']} {found['errors']}")
    late = found["latency_ms"]
    harness.say(
        f"service {alone:.1f} ms, capacity {rate:.0f}/s, p50 {late['p50']:.1f}, "
        f"p99 {late['p99']:.1f} ms; sent late by {found['generator']['lag_ms']['p99']:.1f} ms (p99)"
    )
    return late["p99"], late["p50"], alone, rate, ideal_p99_ms(rate, seconds, seed) / alone


def ideal_p99_ms(rate: float, seconds: float, seed: int, workers: int = 2) -> float:
    """Return the p99 that a perfect queue before perfectly even workers gives, in milliseconds."""
    draw, now, took, latencies = random.Random(seed), 0.0, workers / rate, []
    free = [0.0] * workers
    while now < seconds:
        now += draw.expovariate(SHARE * rate)
        ends = max(now, heapq.heappop(free)) + took
        heapq.heappush(free, ends)
        latencies.append(ends - now)
    return sorted(latencies)[int(0.99 * len(latencies))] * 1000


if __name__ == "__main__":
    main()
