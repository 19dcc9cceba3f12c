"""Three times as many requests as can be answered: what is refused, what is kept (CHECK 22).

    python benchmarks/serve/overload.py [--network lite0] [--seconds 60]

Open loop, whatever comes back. Half of capacity before and after shows whether it is normal again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

HERE = Path(__file__).parent
TIMES, DEADLINE_S, AGAIN_S, PIECE_S = 3.0, 0.5, 5.0, 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lite0", choices=sorted(harness.NETWORKS))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    harness.two_cores()
    with harness.Clearsight([harness.bundle(options.network)]) as service:
        found = overload(service.url, harness.pictures(), options.seconds)
    write(options, found)


def overload(url: str, encoded: list[bytes], seconds: float) -> dict[str, float]:
    """Return what three times the capacity does to a service."""
    ask = harness.Ask(deadline_s=DEADLINE_S)

    def load(rate: float, time_s: float, warm_up_s: float) -> dict:
        plan = harness.LoadPlan(
            rate=rate, time_s=time_s, warm_up_s=warm_up_s, deadline_s=DEADLINE_S
        )
        return harness.measure(url, encoded, plan, ask=ask).to_json()

    rate = harness.capacity(url, encoded)["answers_per_s"]
    before = load(rate / 2, PIECE_S, 1.0)
    during = load(TIMES * rate, seconds, 2.0)
    after = load(rate / 2, PIECE_S, AGAIN_S)
    harness.say(
        f"capacity {rate:.0f}/s; during: {during['answers_per_s']:.0f}/s good, statuses "
        f"{during['statuses']}, errors {during['errors']}, generator "
        f"{during['generator']['share_of_a_core']:.0%} of a core"
    )
    return {
        "capacity": rate,
        "goodput": during["answers_per_s"],
        "goodput share": during["answers_per_s"] / rate,
        "refusal p99": during["refusal_ms"].get("p99", 0.0),
        "refused": during["refused"],
        "refused without Retry-After": during["refused"] - during["refused_with_retry_after"],
        "admitted p99": during["latency_ms"].get("p99", 0.0),
        "neither answered nor refused": during["lost"]
        + sum(n for code, n in during["statuses"].items() if code not in ("200", "503", "429")),
        "before p99": before["latency_ms"]["p99"],
        "after p99": after["latency_ms"].get("p99", 0.0),
        "after, not answered": after["sent"] - after["answered"],
        "generator": during["generator"]["share_of_a_core"],
    }


def claims(found: dict[str, float]) -> list[record.Claim]:
    def claim(text: str, target: float, got: float, met: bool) -> record.Claim:
        return record.Claim(text=text, target=target, got=round(got, 4), met=bool(met))

    f, late = found, DEADLINE_S * 1000
    again = f["after p99"] / f["before p99"]
    return [
        claim("Share of capacity answered in time at three times the load", 0.9,
              f["goodput share"], f["goodput share"] >= 0.9),
        claim("p99 of refusals, ms", 50, f["refusal p99"], f["refusal p99"] <= 50),
        claim("Refusals without Retry-After", 0, f["refused without Retry-After"],
              f["refused without Retry-After"] == 0 and f["refused"] > 0),
        claim("p99 of what was admitted, ms (the deadline)", late, f["admitted p99"],
              f["admitted p99"] < late),
        claim("Requests neither answered nor refused", 0, f["neither answered nor refused"],
              f["neither answered nor refused"] == 0),
        claim("5 s later: not answered at half of capacity", 0, f["after, not answered"],
              f["after, not answered"] == 0),
        claim("5 s later: p99 beside before", 1.5, again, again <= 1.5),
    ]  # fmt: skip


def write(options: argparse.Namespace, found: dict[str, float]) -> None:
    units = {"capacity": "pictures/s", "goodput": "pictures/s", "generator": "cores"}
    record.Record(
        name=f"serve, overload, {options.network}",
        command=f"python benchmarks/serve/overload.py --network {options.network} "
        f"--seconds {options.seconds:g}",
        machine=record.machine(),
        versions=record.versions("clearsight", "onnxruntime", "openvino", "uvicorn"),
        commit=record.commit(),
        measurements=[
            record.Measurement.of(
                name, units.get(name, "ms" if "p99" in name else "count or share"), [value]
            )
            for name, value in found.items()
        ],
        claims=claims(found),
    ).write(out := options.out or HERE / "results" / f"overload-{options.network}.json")
    print(out.read_text())


if __name__ == "__main__":
    main()
