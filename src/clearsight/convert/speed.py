"""How much faster one form of a model is than another, on this machine, measured in turns."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from clearsight.core.nouns import ImagesNHWC
from clearsight.engines.session import Session, cores

ROUNDS = 7
SLICE_S = 0.5
WARM_UP_CALLS = 2


@dataclass(frozen=True)
class SpeedUp:
    """Rates of two forms of one model.

    Args:
        rounds: pictures a second of the first and the second, round by round.
    """

    rounds: tuple[tuple[float, float], ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Second over first, round by round."""
        return tuple(after / before for before, after in self.rounds)

    @property
    def value(self) -> float:
        """The median ratio."""
        return median(self.ratios)

    @property
    def before(self) -> float:
        """Pictures a second of the first, the median."""
        return median(before for before, _ in self.rounds)

    @property
    def after(self) -> float:
        """Pictures a second of the second, the median."""
        return median(after for _, after in self.rounds)


def measure_speed_up(
    first: Session,
    second: Session,
    images_nhwc: ImagesNHWC,
    rounds: int = ROUNDS,
    slice_s: float = SLICE_S,
) -> SpeedUp:
    """Run both on the same prepared pictures, in turn within each round, every core used.

    Whatever else the machine does hits both alike, so the ratio of a round means more than either
    rate. Who goes first changes from round to round.

    Args:
        first, second: opened with as many threads as there are cores.
        images_nhwc: (n, h, w, c) uint8.
        rounds: how many.
        slice_s: how long each runs in a round, at least one call.
    """
    for session in (first, second):
        for _ in range(WARM_UP_CALLS):
            session.run(images_nhwc)
    found = []
    for number in range(rounds):
        pair = {}
        for session in (first, second) if number % 2 else (second, first):
            pair[session is first] = _rate(session, images_nhwc, slice_s)
        found.append((pair[True], pair[False]))
    return SpeedUp(tuple(found))


def _rate(session: Session, images: ImagesNHWC, slice_s: float) -> float:
    began, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - began < slice_s:
        session.run(images)
        calls += 1
    return calls * len(images) / (time.perf_counter() - began)


def machine() -> str:
    """Return the machine in words: processor, cores in use, system."""
    name = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(models, name)
    return f"{name}, {cores()} of {os.cpu_count() or 1} cores, {platform.system()}"
