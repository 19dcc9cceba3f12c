"""Fifty promotions under 64 clients: does any request fail, and how much later are answers?

    python benchmarks/serve/promote.py [--network lite0] [--rounds 5] [--promotions 10]

Six versions of one recognizer (each with its scores scaled in its own way, so that a score tells
which version gave it) are in a registry; 64 clients ask without pause. Quiet spells take turns with
spells with promotions. Every promotion runs all checks in a process of its own,
and every one brings a version into memory that was not there. Service, clients, checks and
promotions share the same two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "parts"))
import harness
import record

from clearsight.core.bundle import GOLDEN_SCORES, MODEL, Bundle, open_bundle, write_bundle
from clearsight.serve.registry.open import open_registry
from clearsight.serve.registry.promotion import Bounds

HERE = Path(__file__).parent
CLIENTS, VERSIONS, TARGET = 64, 6, 1.5
NAME = "recognizer"
QUIET_S = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lite0", choices=sorted(harness.NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--promotions", type=int, default=10, help="in each round")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    harness.two_cores()
    with tempfile.TemporaryDirectory(prefix="clearsight-promote-") as folder:
        rows, answers = rounds(Path(folder), options)
    quiet, busy, seconds, failures = (list(column) for column in zip(*rows, strict=True))
    mixed = not_of_one_version(answers)
    write(options, quiet, busy, seconds, int(sum(failures)), mixed, len(answers))


def rounds(folder: Path, options: argparse.Namespace) -> tuple[list, list]:
    store = folder / "store"
    registry = open_registry(store)
    base = open_bundle(harness.bundle(options.network))
    for number in range(1, VERSIONS + 1):
        given = with_scale(base, folder / f"version{number}", np.float32(1 + number / 10))
        registry.add(NAME, given.path, who="benchmark")
    registry.promote(NAME, 1, who="benchmark")
    rows, answers, turn = [], [], 0
    with harness.Clearsight([], "--store", store, "--queue", "1000") as service:
        clients = Clients(service.port, harness.picture())
        clients.start()
        clients.spell(lambda: time.sleep(5))  # warm
        for _ in range(options.rounds):

            def promotions() -> None:
                nonlocal turn
                for _ in range(options.promotions):
                    turn += 1
                    wanted = turn % VERSIONS + 1
                    registry.promote(NAME, wanted, who="benchmark", bounds=Bounds())

            started = time.monotonic()
            busy = clients.spell(promotions)
            seconds = time.monotonic() - started
            quiet = clients.spell(lambda wait=min(seconds, QUIET_S): time.sleep(wait))
            answers += [row for row in (*busy, *quiet) if row[1] == 200]
            failed = sum(row[1] != 200 for row in (*busy, *quiet))
            rows.append((p99(quiet), p99(busy), seconds / options.promotions, failed))
            harness.say(
                f"p99 quiet {rows[-1][0]:.0f} ms, promoting {rows[-1][1]:.0f} ms, "
                f"{rows[-1][2]:.1f} s a promotion, {failed} failures, {len(busy)} answers"
            )
        clients.stop()
    registry.database.close()
    return rows, answers


def with_scale(base: Bundle, path: Path, scale: np.float32) -> Bundle:
    """Write the same network with its logits scaled: other files, other scores, the same speed."""
    model = onnx.load_model_from_string(base.read(MODEL))
    last = next(node for node in reversed(model.graph.node) if "logits" in node.output)
    for tensor in model.graph.initializer:
        if tensor.name in last.input:
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor) * scale, tensor.name)
            )
    golden = json.loads(base.read(GOLDEN_SCORES))
    golden["logits"] = (np.array(golden["logits"], np.float32) * scale).tolist()
    files = {name: base.read(name) for name in base.manifest.files}
    changed = {MODEL: model.SerializeToString(), GOLDEN_SCORES: json.dumps(golden).encode()}
    about = base.manifest.model_dump(exclude={"files", "format_version"})
    return write_bundle(path, about, {**files, **changed}, lambda bundle: None)


def p99(rows: list[tuple]) -> float:
    return float(np.percentile([row[0] for row in rows], 99)) * 1e3


def not_of_one_version(answers: list[tuple]) -> int:
    """How many answers carry a score that is not the one of the version they name."""
    by_version: dict[str, list[float]] = {}
    for _, _, version, score in answers:
        by_version.setdefault(version, []).append(score)
    usual = {version: float(np.median(scores)) for version, scores in by_version.items()}
    assert len({round(score, 7) for score in usual.values()}) == len(usual), "versions look alike"
    return sum(
        min(usual, key=lambda v: abs(usual[v] - score)) != version
        for _, _, version, score in answers
    )


class Clients(threading.Thread):
    """64 connections in one thread that ask without pause.

    A row is (seconds, status, version, score).
    """

    def __init__(self, port: int, picture: bytes) -> None:
        super().__init__(daemon=True)
        head = f"POST /v1/recognize?top=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        self.request, self.port = head.encode() + picture, port
        self.rows: list[tuple[float, int, str, float]] = []
        self.ended = False

    def spell(self, what) -> list[tuple]:
        """Return the rows of the time that `what` takes."""
        start = len(self.rows)
        what()
        return self.rows[start:]

    def stop(self) -> None:
        self.ended = True
        self.join()

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(CLIENTS)))

    async def _one(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while not self.ended:
            started = time.monotonic()
            try:
                writer.write(self.request)
                status, body = await self._answer(reader)
            except (OSError, asyncio.IncompleteReadError):
                self.rows.append((time.monotonic() - started, 0, "", 0.0))
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                continue
            best = body["predictions"][0]["score"] if status == 200 else 0.0
            took = time.monotonic() - started
            self.rows.append((took, status, body.get("version", ""), best))
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, dict]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))


def write(options, quiet, busy, seconds, failures: int, mixed: int, answers: int) -> None:
    of = record.Measurement.of
    ratio = of(
        "p99 with promotions / without", "ratio", [b / q for b, q in zip(busy, quiet, strict=True)]
    )
    total = options.rounds * options.promotions
    record.Record(
        name=f"serve, {total} promotions under {CLIENTS} clients, {options.network}",
        command=f"python benchmarks/serve/promote.py --network {options.network} "
        f"--rounds {options.rounds} --promotions {options.promotions}",
        machine=record.machine(),
        versions=record.versions("clearsight", "onnxruntime", "openvino", "sqlalchemy"),
        commit=record.commit(),
        measurements=[
            of("latency p99 without promotions", "ms", quiet),
            of("latency p99 with promotions", "ms", busy),
            of("one promotion, checks included", "s", seconds),
            of("answers", "requests", [answers]),
            ratio,
        ],
        claims=[
            claim("requests that failed", 0, failures),
            claim("answers that are not of the version they name", 0, mixed),
            claim("p99 with promotions as a multiple of without", TARGET, ratio.median),
        ],
    ).write(out := options.out or HERE / "results" / f"promote-{options.network}.json")
    print(out.read_text())


def claim(text: str, target: float, got: float) -> record.Claim:
    return record.Claim(text=text, target=target, got=got, met=got <= target)


if __name__ == "__main__":
    main()
