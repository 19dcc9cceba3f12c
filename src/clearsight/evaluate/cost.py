"""What a recognizer costs to run: latency, rate, memory and size, all measured side by side."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from clearsight.core.bundle import MANIFEST, Bundle
from clearsight.core.progress import Progress
from clearsight.engines.predictor import BundlePredictor
from clearsight.engines.session import PIECE_PIXELS, cores
from clearsight.evaluate.prepared import prepared

ROUNDS = 5
SLICE_S = 0.1
CALLS_AT_LEAST = 10
WARM_UP_CALLS = 3
BATCH_AT_LEAST, BATCH_AT_MOST = 8, 256
MEMORY_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one picture takes.

    Args:
        p50_ms, p95_ms: median and 95th percentile, milliseconds.
    """

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What running a recognizer takes on this machine.

    Args:
        model: one decoded picture through the engine.
        picture: one picture from its encoded bytes to labels.
        model_rate: decoded pictures a second in batches, every core used.
        picture_rate: encoded pictures a second in batches, every core used.
        memory_mib: largest resident memory of a fresh process that opens the Bundle and
            recognizes a picture; None where the system does not tell.
        bundle_bytes: all files of the Bundle.
    """

    model: Latency
    picture: Latency
    model_rate: float
    picture_rate: float
    memory_mib: float | None
    bundle_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def measure_costs(
    predictors: Sequence[BundlePredictor], pictures: Sequence[bytes], progress: Progress
) -> list[Cost]:
    """Measure every recognizer on the same pictures, in turn within each of five rounds.

    The machine may slow down or be shared while this runs; taking turns makes that hit all
    recognizers alike, and the median of the rounds drops what hit one. Engines are warm.

    Args:
        predictors: opened recognizers.
        pictures: encoded, usable.
        progress: told of each round.
    """
    watches = [_Watch(predictor, pictures) for predictor in predictors]
    for watch in watches:
        watch.warm_up()
    progress.start("measure", ROUNDS * len(watches), "runs")
    try:
        for _ in range(ROUNDS):
            for watch in watches:
                watch.measure()
                progress.advance(1)
    finally:
        progress.finish()
    return [watch.cost(_memory_mib(watch.predictor, pictures[0])) for watch in watches]


def bundle_bytes(bundle: Bundle) -> int:
    """Return the size of all files of a Bundle."""
    manifest = (bundle.path / MANIFEST).stat().st_size
    return manifest + sum(record.size for record in bundle.manifest.files.values())


class _Watch:
    """Collects one recognizer's timings."""

    def __init__(self, predictor: BundlePredictor, pictures: Sequence[bytes]) -> None:
        self.predictor, self._pictures = predictor, pictures
        shape = predictor.preprocessing
        fitting = 4 * cores() * PIECE_PIXELS // (shape.height * shape.width)
        self._size = min(BATCH_AT_MOST, max(BATCH_AT_LEAST, fitting))
        self._one = predictor.prepare(pictures[0])[None]
        prepared_once = [predictor.prepare(picture) for picture in pictures[: self._size]]
        self._batch = np.stack([prepared_once[i % len(prepared_once)] for i in range(self._size)])
        self._model: list[Latency] = []
        self._picture: list[Latency] = []
        self._rates: list[tuple[float, float]] = []
        self._turn = 0

    def warm_up(self) -> None:
        for _ in range(WARM_UP_CALLS):
            self._recognize_next()
            self._run_one()
        self._run_batch()
        self._recognize_batch()

    def measure(self) -> None:
        self._model.append(_latency(self._run_one))
        self._picture.append(_latency(self._recognize_next))
        self._rates.append((self._rate(self._run_batch), self._rate(self._recognize_batch)))

    def cost(self, memory_mib: float | None) -> Cost:
        return Cost(
            model=_middle(self._model),
            picture=_middle(self._picture),
            model_rate=median(rate for rate, _ in self._rates),
            picture_rate=median(rate for _, rate in self._rates),
            memory_mib=memory_mib,
            bundle_bytes=bundle_bytes(self.predictor.bundle),
        )

    def _run_one(self) -> None:
        self.predictor.probabilities(self._one)

    def _recognize_next(self) -> None:
        self.predictor.recognize(self._pictures[self._turn % len(self._pictures)])
        self._turn += 1

    def _run_batch(self) -> None:
        self.predictor.probabilities(self._batch)

    def _recognize_batch(self) -> None:
        pictures = self._pictures
        for batch in prepared(
            self.predictor, lambda i: pictures[i % len(pictures)], len(self._batch)
        ):
            self.predictor.probabilities(np.stack([np.asarray(image) for _, image in batch]))

    def _rate(self, work: Callable[[], None]) -> float:
        began, batches = time.perf_counter(), 0
        while batches == 0 or time.perf_counter() - began < SLICE_S:
            work()
            batches += 1
        return batches * len(self._batch) / (time.perf_counter() - began)


def _latency(work: Callable[[], None]) -> Latency:
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < CALLS_AT_LEAST or time.perf_counter() - began < SLICE_S:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    p50, p95 = np.quantile(taken, [0.5, 0.95]) * 1000
    return Latency(float(p50), float(p95))


def _middle(rounds: Sequence[Latency]) -> Latency:
    return Latency(median(item.p50_ms for item in rounds), median(item.p95_ms for item in rounds))


def _memory_mib(predictor: BundlePredictor, picture: bytes) -> float | None:
    """Return the peak memory of a fresh process, see `Cost`."""
    command = [sys.executable, "-m", __name__, str(predictor.bundle.path), predictor.engine]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            command, input=picture, capture_output=True, timeout=MEMORY_TIMEOUT_S, check=True
        )
        found: float | None = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found


def _peak_mib() -> float | None:
    """Return this process's largest resident memory so far, where Linux tells.

    `getrusage` would count the parent's memory too: a new process starts as its copy.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as stream:
            kib = next(int(line.split()[1]) for line in stream if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
    return kib / 1024


if __name__ == "__main__":
    from pathlib import Path

    from clearsight.engines.open import open_predictor

    opened = open_predictor(Path(sys.argv[1]), sys.argv[2])
    encoded = sys.stdin.buffer.read()
    for _ in range(WARM_UP_CALLS):
        opened.recognize(encoded)
    print(json.dumps(_peak_mib()))
