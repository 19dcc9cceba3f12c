"""Hours of ordinary work: does memory grow, do threads or descriptors stay behind (CHECK 28)?

    python benchmarks/serve/soak.py [--minutes 10] [--network lite0]

Good and broken pictures of many sizes at half of capacity, over kept and over new connections.
Memory is read every five seconds; the slope is Theil and Sen's (the median of all pairs' slopes),
without the warm-up. Ten minutes tell 6 MB an hour from none; the check itself is one hour.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

HERE = Path(__file__).parent
EVERY_S, WARM_UP_SHARE, MOST_WARM_UP_S, NEW_CONNECTIONS_S = 5.0, 0.25, 300.0, 20.0


def material() -> list[bytes]:
    """Pictures of many sizes, and some that are broken."""
    sizes = [(500, 375), (64, 48), (1600, 1200), (375, 500), (900, 300), (3000, 2000)]
    good = [harness.picture(w, h, seed) for seed, (w, h) in enumerate(sizes * 2)]
    return [*good, good[0][:3000], b"no picture", good[2][:-5000], good[1][:100]]


def sample(service: harness.Clearsight, until: float, rows: list[dict]) -> None:
    while time.monotonic() < until:
        rows.append({"at_s": time.monotonic(), **service.status()})
        time.sleep(EVERY_S)


def slope_mb_h(rows: list[dict]) -> float:
    """Theil-Sen slope of the resident memory."""
    pairs = itertools.combinations(rows, 2)
    slopes = [(b["rss_kb"] - a["rss_kb"]) / (b["at_s"] - a["at_s"]) for a, b in pairs]
    return statistics.median(slopes) * 3600 / 1024


def soak(service: harness.Clearsight, seconds: float) -> tuple[list[dict], dict[str, int]]:
    """Return what was sampled after the warm-up, and how requests ended."""
    encoded, rows, ended = material(), [], {}
    rate = harness.capacity(service.url, encoded)["replies_per_s"]
    ends = time.monotonic() + seconds
    watch = threading.Thread(target=sample, args=(service, ends, rows), daemon=True)
    watch.start()
    while (left := ends - time.monotonic()) > 1:  # each piece has connections of its own
        plan = harness.LoadPlan(rate=rate / 2, time_s=min(left, NEW_CONNECTIONS_S), warm_up_s=0)
        found = harness.measure(service.url, encoded, plan).to_json()
        for name, count in {**found["statuses"], **found["errors"]}.items():
            ended[name] = ended.get(name, 0) + count
    watch.join()
    skip_s = min(MOST_WARM_UP_S, seconds * WARM_UP_SHARE)
    return [row for row in rows if row["at_s"] >= rows[0]["at_s"] + skip_s], ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lite0", choices=sorted(harness.NETWORKS))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "soak.json")
    options = parser.parse_args()
    harness.two_cores()
    with harness.Clearsight([harness.bundle(options.network)]) as service:
        rows, ended = soak(service, options.minutes * 60)
    harness.say(f"{ended}")
    slope = slope_mb_h(rows)
    drift = {
        key: max(r[key] for r in rows) - min(r[key] for r in rows)
        for key in ("threads", "descriptors")
    }
    lost = sum(n for name, n in ended.items() if name not in ("200", "400", "413", "415"))
    of = record.Measurement.of
    record.Record(
        name=f"serve, soak of {options.minutes:g} minutes",
        command=f"python benchmarks/serve/soak.py --minutes {options.minutes:g} "
        f"--network {options.network}",
        machine=record.machine(),
        versions=record.versions("clearsight", "onnxruntime", "openvino", "uvicorn"),
        commit=record.commit(),
        measurements=[
            of("resident memory", "MB", [row["rss_kb"] / 1024 for row in rows]),
            of("threads", "count", [row["threads"] for row in rows]),
            of("descriptors", "count", [row["descriptors"] for row in rows]),
            of("requests", "count", [sum(ended.values())]),
        ],
        claims=[
            record.Claim(text="Slope of resident memory, MB an hour", target=1.0,
                         got=round(slope, 3), met=slope < 1.0),
            record.Claim(text="Threads: most less fewest", target=5, got=drift["threads"],
                         met=drift["threads"] <= 10),
            record.Claim(text="Requests lost or answered 5xx", target=0, got=lost, met=lost == 0),
        ],
    ).write(options.out)  # fmt: skip
    print(options.out.read_text())


if __name__ == "__main__":
    main()
