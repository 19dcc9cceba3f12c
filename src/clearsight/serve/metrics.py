"""What the service counts, in the Prometheus text format.

A picture costs one look-up and one lock: its seconds are counted in lists of plain numbers, and
Prometheus' own objects are made only when somebody reads. Every label has few values: routes,
status codes and reasons come from tables, models and versions from the catalogue, never from a
request; beyond `MOST_SERIES` versions the rest is counted together as "other".
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from clearsight.core.errors import ImageError
from clearsight.core.version import __version__
from clearsight.serve.errors import ExpiredError
from clearsight.serve.status import status_of

if TYPE_CHECKING:
    from clearsight.serve.calls import Observation

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
LOAD_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
STAGES = ("queue", "decode", "infer", "total")
MOST_SERIES = 200
OTHER = "other"

Outcome = Literal["answered", "bad-picture", "expired", "failed"]
Source = Callable[[], Iterable[Metric]]
"""Gives metrics that are worked out when they are read."""


class Series:
    """Counts of one version's pictures, either live or in the shadow."""

    __slots__ = ("batch_sum", "batches", "counts", "outcomes", "sums")

    def __init__(self) -> None:
        self.counts = [[0] * (len(SECONDS) + 1) for _ in STAGES]
        self.sums = [0.0] * len(STAGES)
        self.batches = [0] * (len(BATCHES) + 1)
        self.batch_sum = 0.0
        self.outcomes: dict[Outcome, int] = {}

    @property
    def pictures(self) -> int:
        """How many there were, whatever became of them."""
        return sum(self.outcomes.values())


Key = tuple[str, str, bool]
"""Model, version, whether the pictures were a shadow's."""


class Metrics:
    """The counters of one Service; its own registry, so that two services do not mix.

    Example:
        >>> metrics = Metrics()
        >>> metrics.refused("overloaded")
        >>> b'clearsight_refusals_total{reason="overloaded"} 1.0' in metrics.text()
        True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Key, Series] = {}
        self._sources: list[Source] = []
        self._registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Requests answered, by route and status", "route", "status"
        )
        self.request_seconds = Histogram(
            "clearsight_request_seconds",
            "From a request's head to its answer",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "clearsight_in_flight", "Requests being answered", registry=self._registry
        )
        self.refusals = self._counter("refusals", "Requests not answered, by reason", "reason")
        self.corrections = self._counter(
            "corrections", "Corrections by whether the answer was right", "model", "right"
        )
        self.cancelled = self._counter("cancelled", "Pictures given up while they waited")
        self.loads = self._counter("model_loads", "Times a model was loaded", "model")
        self.unloads = self._counter(
            "model_unloads", "Times a model was unloaded to make room", "model"
        )
        self.load_seconds = Histogram(
            "clearsight_model_load_seconds",
            "Until a model was in memory, checked and warm",
            ["model"],
            buckets=LOAD_SECONDS,
            registry=self._registry,
        )
        build = Gauge("clearsight_build_info", "Always 1", ["version"], registry=self._registry)
        build.labels(version=__version__).set(1)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def observe(self, seen: Observation) -> None:
        """Count one picture; called on the worker's thread."""
        total = seen.queue_s + seen.decode_s + seen.infer_s
        outcome = outcome_of(seen.error)
        with self._lock:
            series = self._find(seen.model, seen.version, seen.shadow)
            series.outcomes[outcome] = series.outcomes.get(outcome, 0) + 1
            if outcome != "answered":
                return
            values = (seen.queue_s, seen.decode_s, seen.infer_s, total)
            for stage, value in enumerate(values):
                series.counts[stage][bisect_left(SECONDS, value)] += 1
                series.sums[stage] += value
            series.batches[bisect_left(BATCHES, seen.batch)] += 1
            series.batch_sum += seen.batch

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request.

        Args:
            route: the route's pattern, never the address that was asked for.
            status: HTTP status code.
            seconds: from its head to its answer.
        """
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def refused(self, reason: str | BaseException) -> None:
        """Count one refusal, by the problem's slug."""
        slug = reason if isinstance(reason, str) else status_of(reason).slug
        self.refusals.labels(slug).inc()

    def refusal_counts(self) -> dict[str, int]:
        """Return how many requests were refused, by reason."""
        return {
            sample.labels["reason"]: int(sample.value)
            for family in self.refusals.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    def add_source(self, source: Source) -> None:
        """Add metrics that are worked out when they are read."""
        self._sources.append(source)

    def snapshot(self) -> dict[Key, tuple[int, dict[Outcome, int], list[int], float]]:
        """Return pictures, outcomes, buckets of the whole time and its sum, by series."""
        with self._lock:
            return {
                key: (s.pictures, dict(s.outcomes), list(s.counts[-1]), s.sums[-1])
                for key, s in self._series.items()
            }

    def text(self) -> bytes:
        """Return every metric in the Prometheus text format 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Give Prometheus' registry what is not kept in its own objects."""
        labels = ["model", "version", "traffic"]
        pictures = CounterMetricFamily(
            "clearsight_pictures", "Pictures, by what became of them", labels=[*labels, "outcome"]
        )
        stages = [
            HistogramMetricFamily(f"clearsight_{name}_seconds", help_text, labels=labels)
            for name, help_text in zip(STAGES, STAGE_HELP, strict=True)
        ]
        batches = HistogramMetricFamily(
            "clearsight_batch_pictures", "Pictures in the model together", labels=labels
        )
        with self._lock:
            for (model, version, shadow), series in self._series.items():
                values = [model, version, "shadow" if shadow else "live"]
                for outcome, count in sorted(series.outcomes.items()):
                    pictures.add_metric([*values, outcome], count)
                for family, counts, total in zip(stages, series.counts, series.sums, strict=True):
                    family.add_metric(values, _cumulative(SECONDS, counts), total)
                batches.add_metric(values, _cumulative(BATCHES, series.batches), series.batch_sum)
        yield pictures
        yield from stages
        yield batches
        for source in self._sources:
            yield from source()

    def describe(self) -> Iterable[Metric]:
        """Tell the registry nothing: what `collect` gives depends on what was served."""
        return []

    def _find(self, model: str, version: str, shadow: bool) -> Series:
        key = (model, version, shadow)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MOST_SERIES:
                key = (OTHER, OTHER, shadow)
            series = self._series.setdefault(key, Series())
        return series

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"clearsight_{name}", help_text, labels, registry=self._registry)


STAGE_HELP = (
    "Seconds that answered pictures waited",
    "Seconds to decode and resize a picture",
    "Seconds in the model, of the whole batch",
    "Seconds from a picture's admission to its answer",
)


def outcome_of(error: BaseException | None) -> Outcome:
    """Return what became of a picture."""
    if error is None:
        return "answered"
    if isinstance(error, ImageError):
        return "bad-picture"
    return "expired" if isinstance(error, ExpiredError) else "failed"


def _cumulative(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """Return Prometheus' buckets: how many were at most as large as each bound."""
    found, total = [], 0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        total += count
        found.append(("+Inf" if bound == float("inf") else str(float(bound)), float(total)))
    return found
