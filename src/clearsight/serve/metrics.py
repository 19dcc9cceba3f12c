"""What the service counts, in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from clearsight.core.version import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The counters of one Service; its own registry, so that two services do not mix.

    Args:
        queue_depth: called when the metrics are read.
    """

    def __init__(self, queue_depth: Callable[[], float]) -> None:
        self.waiting = queue_depth
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "clearsight_requests",
            "Requests answered, by route and status",
            ["route", "status"],
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "clearsight_request_seconds",
            "From a recognition request's head to its answer",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.run_seconds = Histogram(
            "clearsight_run_seconds",
            "Decode, resize, infer and top-k of one picture",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "clearsight_in_flight", "Requests being answered", registry=self._registry
        )
        self.expired = Counter(
            "clearsight_expired",
            "Pictures whose deadline passed in the queue",
            registry=self._registry,
        )
        self.cancelled = Counter(
            "clearsight_cancelled",
            "Pictures given up while they waited",
            registry=self._registry,
        )
        depth = Gauge("clearsight_queue_depth", "Pictures waiting", registry=self._registry)
        depth.set_function(queue_depth)
        build = Gauge("clearsight_build_info", "Always 1", ["version"], registry=self._registry)
        build.labels(version=__version__).set(1)

    def text(self) -> bytes:
        """Return every metric in the Prometheus text format 0.0.4."""
        return generate_latest(self._registry)
