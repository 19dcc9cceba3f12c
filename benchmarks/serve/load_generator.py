"""Our load generator beside wrk on the same service: the same rate, and what each takes itself.

    python benchmarks/serve/load_generator.py [--rounds 15] [--seconds 2]

The model takes no time, so what is compared is plumbing: eight waiting clients, a 60 kB picture,
turn by turn. Needs wrk. The generator's own processor time a reply is what it costs a service that
shares the machine with it.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

from clearsight.testing.tiny_bundle import write_colour_bundle

HERE = Path(__file__).parent
CLIENTS, NEAR = 8, 0.05


def wrk(url: str, jpeg: Path, seconds: int) -> tuple[float, float]:
    """Return answers a second and wrk's own processor milliseconds an answer."""
    before = children_s()
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s"]
    command += [
        "-s",
        str(harness.PARTS / "post.lua"),
        f"{url}/v1/recognize",
        "--",
        str(jpeg),
        "raw",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(said)
    count = int(re.search(r"(\d+) requests in", said)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    return rate, 1000 * (children_s() - before) / count


def children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ours(url: str, jpeg: Path, seconds: float) -> tuple[float, float]:
    plan = harness.LoadPlan(clients=CLIENTS, time_s=seconds, warm_up_s=0.2)
    found = harness.measure(url, [jpeg.read_bytes()], plan).to_json()
    return found["answers_per_s"], found["generator"]["cpu_ms_per_reply"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "load-generator.json")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark compares with wrk: apt-get install wrk.")
    harness.two_cores()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        jpeg = Path(folder) / "picture.jpg"
        jpeg.write_bytes(harness.picture())
        bundle = write_colour_bundle(Path(folder) / "colours").path
        with harness.Clearsight([bundle]) as service:
            for number in range(options.rounds + 1):
                pair = [wrk, ours][:: 1 if number % 2 else -1]
                found = {one: one(service.url, jpeg, options.seconds) for one in pair}
                if number:
                    rows.append((*found[wrk], *found[ours]))
                    harness.say("wrk {:.0f}/s {:.3f} ms, ours {:.0f}/s {:.3f} ms".format(*rows[-1]))
    theirs, their_ms, mine, my_ms = (list(column) for column in zip(*rows, strict=True))
    of = record.Measurement.of
    ratio = of("rate: ours / wrk", "ratio", [a / b for a, b in zip(mine, theirs, strict=True)])
    cost = of("processor: ours", "ms a reply", my_ms)
    record.Record(
        name="load generator beside wrk",
        command=f"python benchmarks/serve/load_generator.py --rounds {options.rounds} "
        f"--seconds {options.seconds:g}",
        machine=record.machine(),
        versions=record.versions("clearsight", "uvloop", "httptools", "uvicorn"),
        commit=record.commit(),
        measurements=[
            of("rate: wrk", "replies/s", theirs),
            of("rate: ours", "replies/s", mine),
            ratio,
            of("processor: wrk", "ms a reply", their_ms),
            cost,
        ],
        claims=[
            record.Claim(text="Rate beside wrk's: at least", target=1 - NEAR, got=ratio.median,
                         met=ratio.median >= 1 - NEAR),
            record.Claim(text="Own processor time, ms a reply: at most", target=0.5,
                         got=cost.median, met=cost.median <= 0.5),
        ],
    ).write(options.out)  # fmt: skip
    print(options.out.read_text())


if __name__ == "__main__":
    main()
