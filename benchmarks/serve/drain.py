"""SIGTERM with 200 requests in flight: is one dropped, and when does readiness say so (CHECK 20)?

python benchmarks/serve/drain.py [--in-flight 200] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

from clearsight.client.errors import UnreachableError
from clearsight.client.load.lines import http_connect
from clearsight.client.load.requests import Ask, http_request, rest_requests

HERE = Path(__file__).parent
READY_TARGET_MS = 100.0


async def drain(service: harness.Clearsight, in_flight: int, encoded: list[bytes]) -> dict:
    """Return how many were dropped and how long readiness went on saying yes."""
    recognize = http_connect(service.url, rest_requests(service.url, encoded, Ask()), None)
    ready = http_connect(service.url, [http_request(service.url, "/readyz", {}, b"", "GET")], None)
    lines = [await recognize() for _ in range(in_flight)]
    probe = await ready()
    assert (await probe.ask(0)).good

    async def one(number: int) -> str:
        try:
            return (await lines[number].ask(number)).status
        except UnreachableError as error:
            return str(error)

    asked = [asyncio.create_task(one(number)) for number in range(in_flight)]
    await asyncio.sleep(0.3)  # all of them are there; the first are answered
    done = sum(task.done() for task in asked)
    service.process.send_signal(signal.SIGTERM)
    told, not_ready_ms = time.perf_counter(), None
    while not_ready_ms is None:
        try:
            good = (await probe.ask(0)).good
        except UnreachableError:
            good = False
        if not good:
            not_ready_ms = 1000 * (time.perf_counter() - told)
        await asyncio.sleep(0.002)
    statuses = await asyncio.gather(*asked)
    code = await asyncio.to_thread(service.process.wait, 60)
    return {
        "in flight": in_flight - done,
        "dropped": sum(status != "200" for status in statuses),
        "not ready after": not_ready_ms,
        "ended after": 1000 * (time.perf_counter() - told),
        "exit code": code,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "drain.json")
    options = parser.parse_args()
    harness.two_cores()
    encoded, rows = harness.pictures(), []
    for _ in range(options.rounds):
        queue = str(options.in_flight * 2)
        with harness.Clearsight([harness.bundle("lite0")], "--queue", queue) as service:
            rows.append(asyncio.run(drain(service, options.in_flight, encoded)))
            harness.say(str(rows[-1]))
    of = record.Measurement.of
    units = {"not ready after": "ms", "ended after": "ms"}
    found = {
        name: of(name, units.get(name, "count"), [row[name] for row in rows]) for name in rows[0]
    }
    late = max(found["not ready after"].values)
    record.Record(
        name=f"serve, SIGTERM with {options.in_flight} requests sent",
        command=f"python benchmarks/serve/drain.py --in-flight {options.in_flight} "
        f"--rounds {options.rounds}",
        machine=record.machine(),
        versions=record.versions("clearsight", "uvicorn", "uvloop", "httptools"),
        commit=record.commit(),
        measurements=list(found.values()),
        claims=[
            record.Claim(text="Requests dropped", target=0, got=sum(found["dropped"].values),
                         met=not any(found["dropped"].values)),
            record.Claim(text="Readiness says no after, ms (slowest round)",
                         target=READY_TARGET_MS, got=late, met=late <= READY_TARGET_MS),
            record.Claim(text="Requests in flight at the signal (fewest)",
                         target=options.in_flight * 0.5, got=min(found["in flight"].values),
                         met=min(found["in flight"].values) >= options.in_flight * 0.5),
        ],
    ).write(options.out)  # fmt: skip
    print(options.out.read_text())


if __name__ == "__main__":
    main()
