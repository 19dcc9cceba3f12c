"""A thousand clients that send a byte now and then: do the healthy ones notice (CHECK 7)?

    python benchmarks/serve/slow_clients.py [--clients 1000] [--seconds 20]

Half of the slow ones never finish their head, half never finish their body. Healthy requests arrive
at 30 % of capacity; before and with the slow ones take turns. Then: how long is an idle connection,
one after an answer and one that never sent anything, kept?
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

HERE = Path(__file__).parent
SHARE, ROUNDS, IDLE_S, TARGET = 0.3, 3, 30.0, 2.0
HEAD = b"POST /v1/recognize HTTP/1.1\r\nHost: slow\r\n"


class SlowClients:
    """Connections on a thread of their own; each sends a byte a second and comes back when cut."""

    def __init__(self, port: int, count: int) -> None:
        self.port, self.count = port, count
        self.most = self.open = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> SlowClients:
        self._thread.start()
        ends = time.monotonic() + 30
        while self.open < self.count * 0.95 and time.monotonic() < ends:
            time.sleep(0.1)
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(30)

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._one(number)) for number in range(self.count)]
        while not self._stop.is_set():
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _one(self, number: int) -> None:
        await asyncio.sleep(number / self.count)
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(1)
                continue
            self.open += 1
            self.most = max(self.most, self.open)
            try:
                writer.write(HEAD + (b"Content-Length: 60000\r\n\r\n" if number % 2 else b"X: "))
                while not reader.at_eof():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(1)
            except OSError:
                pass
            finally:
                self.open -= 1
                writer.close()


def idle_s(port: int, first: bytes) -> float:
    """Seconds until the service closes a connection on which nothing more is sent."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(IDLE_S * 2)
        connection.sendall(first)
        started = time.monotonic()
        while connection.recv(65536):
            pass
        return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "slow-clients.json")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    harness.two_cores()
    encoded, calm, beside, most = harness.pictures(), [], [], []
    with harness.Clearsight([harness.bundle("lite0")]) as service:
        rate = SHARE * harness.capacity(service.url, encoded)["answers_per_s"]

        def healthy(seed: int) -> float:
            plan = harness.LoadPlan(rate=rate, time_s=options.seconds, warm_up_s=1, seed=seed)
            found = harness.measure(service.url, encoded, plan).to_json()
            if found["answered"] < found["sent"]:
                raise SystemExit(f"not answered: {found['statuses']} {found['errors']}")
            return found["latency_ms"]["p99"]

        for number in range(ROUNDS):
            calm.append(healthy(number))
            with SlowClients(service.port, options.clients) as slow:
                beside.append(healthy(number))
                most.append(slow.most)
            harness.say(f"p99 {calm[-1]:.1f} ms alone, {beside[-1]:.1f} ms beside {most[-1]} slow")
        silent = idle_s(service.port, b"")
        after = idle_s(service.port, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
    of = record.Measurement.of
    ratio = of("p99 beside slow clients / alone", "ratio",
               [a / b for a, b in zip(beside, calm, strict=True)])  # fmt: skip
    closed = max(silent, after)
    record.Record(
        name=f"serve, {options.clients} slow clients",
        command=f"python benchmarks/serve/slow_clients.py --clients {options.clients} "
        f"--seconds {options.seconds:g}",
        machine=record.machine(),
        versions=record.versions("clearsight", "uvicorn", "uvloop", "httptools"),
        commit=record.commit(),
        measurements=[
            of("p99 alone", "ms", calm),
            of("p99 beside slow clients", "ms", beside),
            of("slow clients connected", "count", most),
            of("a connection that never sends is closed after", "s", [silent]),
            of("an idle connection is closed after", "s", [after]),
            ratio,
        ],
        claims=[
            record.Claim(text="Healthy p99 beside a thousand slow clients", target=TARGET,
                         got=ratio.median, met=ratio.median <= TARGET),
            record.Claim(text="Slow clients connected at once", target=0.9 * options.clients,
                         got=min(most), met=min(most) >= 0.9 * options.clients),
            record.Claim(text="Idle connections are closed after, s", target=IDLE_S,
                         got=round(closed, 1), met=closed <= IDLE_S + 1.5),
        ],
    ).write(options.out)  # fmt: skip
    print(options.out.read_text())


if __name__ == "__main__":
    main()
