"""What the protocol's statistics extension tells: counts and times of every version."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from clearsight.serve.calls import Observation
    from clearsight.serve.service import Service

MOST_VERSIONS = 1000  # the version that was quiet for longest makes room for the next

Json = dict[str, Any]
_creating = threading.Lock()
_by_service: WeakKeyDictionary[Service, Statistics] = WeakKeyDictionary()


@dataclass(slots=True)
class _Batches:
    """Pictures that ran in batches of one size; seconds of all of them together."""

    pictures: int = 0
    decode_s: float = 0.0
    infer_s: float = 0.0


@dataclass(slots=True)
class _Counts:
    answered: int = 0
    answered_s: float = 0.0
    failed: int = 0
    failed_s: float = 0.0
    queue_s: float = 0.0
    last_ms: int = 0
    batches: dict[int, _Batches] = field(default_factory=dict)


class Statistics:
    """Counts every answered and failed picture; an observer of the service. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], _Counts] = {}

    def __call__(self, seen: Observation) -> None:
        """Count one picture; called on the worker's thread."""
        if seen.shadow:
            return
        with self._lock:
            counts = self._counts.setdefault((seen.model, seen.version), _Counts())
            if len(self._counts) > MOST_VERSIONS:
                del self._counts[min(self._counts, key=lambda key: self._counts[key].last_ms)]
            counts.last_ms = time.time_ns() // 1_000_000
            seconds = seen.queue_s + seen.decode_s + seen.infer_s
            if seen.error is not None:
                counts.failed += 1
                counts.failed_s += seconds
                return
            counts.answered += 1
            counts.answered_s += seconds
            counts.queue_s += seen.queue_s
            batches = counts.batches.setdefault(seen.batch, _Batches())
            batches.pictures += 1
            batches.decode_s += seen.decode_s
            batches.infer_s += seen.infer_s / seen.batch

    def of(self, versions: Iterable[tuple[str, str]]) -> list[Json]:
        """Return the statistics of versions in the words of the protocol.

        Args:
            versions: name and version of each; one that was never asked has zeros.
        """
        with self._lock:
            return [_told(*key, self._counts.get(key, _Counts())) for key in versions]


def statistics_of(service: Service) -> Statistics:
    """Return the statistics of a service; they begin when first asked for."""
    with _creating:
        statistics = _by_service.get(service)
        if statistics is None:
            statistics = _by_service[service] = Statistics()
            service.observe(statistics)
        return statistics


def _told(name: str, version: str, counts: _Counts) -> Json:
    every = counts.batches.values()
    decode_s, infer_s = sum(b.decode_s for b in every), sum(b.infer_s for b in every)
    runs = {size: round(batch.pictures / size) for size, batch in counts.batches.items()}
    answered = counts.answered
    return {
        "name": name,
        "version": version,
        "last_inference": counts.last_ms,
        "inference_count": answered,
        "execution_count": sum(runs.values()),
        "inference_stats": {
            "success": _duration(answered, counts.answered_s),
            "fail": _duration(counts.failed, counts.failed_s),
            "queue": _duration(answered, counts.queue_s),
            "compute_input": _duration(answered, decode_s),
            "compute_infer": _duration(answered, infer_s),
            "compute_output": _duration(answered, 0.0),
            "cache_hit": _duration(0, 0.0),
            "cache_miss": _duration(0, 0.0),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _duration(runs[size], batch.decode_s),
                "compute_infer": _duration(runs[size], batch.infer_s),
                "compute_output": _duration(runs[size], 0.0),
            }
            for size, batch in sorted(counts.batches.items())
        ],
    }


def _duration(count: int, seconds: float) -> Json:
    return {"count": count, "ns": round(seconds * 1e9)}
