"""Collects windows of live pictures and has each judged, beside the work of the service."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from clearsight.core.reference import Reference, project
from clearsight.serve import log
from clearsight.serve.calls import Observation
from clearsight.serve.operations.drift import Verdict, Window, judge

MOST_MONITORS = 200
HISTORY = 20

FindReference = Callable[[str, str], tuple[Reference | None, tuple[str, ...]]]
"""Model and version -> the reference of its Bundle, if any, and its classes."""


class Monitor:
    """Collects one version's pictures, window after window.

    Args:
        reference: of its Bundle.
        classes: in label order.
        window: pictures that are judged together.
        submit: runs a function soon, on another thread.
    """

    def __init__(
        self,
        reference: Reference,
        classes: tuple[str, ...],
        window: int,
        submit: Callable[[Callable[[], None]], None],
    ) -> None:
        self._reference, self._window, self._submit = reference, window, submit
        self._index = {label: index for index, label in enumerate(classes)}
        self._lock = threading.Lock()
        self._classes: list[int] = []
        self._scores: list[float] = []
        self._projected: list[NDArray[np.float32]] = []
        self.windows = self.alarms = 0
        self.history: deque[tuple[float, Verdict]] = deque(maxlen=HISTORY)

    def add(self, seen: Observation) -> None:
        """Take one answered picture; a full window is handed on."""
        assert seen.prediction is not None
        projected = self._project(seen.embedding)
        with self._lock:
            self._classes.append(self._index.get(seen.prediction.label, 0))
            self._scores.append(seen.prediction.score)
            if projected is not None:
                self._projected.append(projected)
            if len(self._classes) < self._window:
                return
            classes, scores, rows = self._classes, self._scores, self._projected
            self._classes, self._scores, self._projected = [], [], []
        self._submit(lambda: self._judge(classes, scores, rows))

    def report(self) -> dict[str, Any]:
        """Return where it stands, in JSON's types."""
        with self._lock:
            collected, history = len(self._classes), list(self.history)
        found: dict[str, Any] = {
            "state": "watching" if history else "collecting",
            "window": self._window,
            "collected": collected,
            "reference": self._reference.n,
            "features": self._reference.features is not None,
            "windows": self.windows,
            "alarms": self.alarms,
        }
        if history:
            when, verdict = history[-1]
            found["latest"] = {"time": round(when, 3), **verdict.as_json()}
            found["drifted"] = verdict.drifted
        return found

    def _project(self, embedding: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Return it in the fixed directions at once: what is kept does not grow with its length."""
        features = self._reference.features
        if features is None or embedding is None or embedding.size != features.dimension:
            return None
        projected: NDArray[np.float32] = project(embedding.reshape(1, -1))[0]
        return projected

    def _judge(
        self, classes: list[int], scores: list[float], rows: list[NDArray[np.float32]]
    ) -> None:
        # all or none: an average over some of the pictures would be one of another selection
        projected = np.stack(rows).astype(np.float64) if len(rows) == len(classes) else None
        window = Window(np.array(classes, np.int64), np.array(scores, np.float64), projected)
        verdict = judge(self._reference, window, seed=self.windows)
        with self._lock:
            self.windows += 1
            self.alarms += verdict.drifted
            self.history.append((time.time(), verdict))


class Monitors:
    """The drift monitors of all versions that a service answers with.

    Args:
        find: finds a version's reference.
        window: pictures that are judged together.
    """

    def __init__(self, find: FindReference, window: int) -> None:
        self._find, self._window = find, window
        self._lock = threading.Lock()
        self._monitors: dict[tuple[str, str], Monitor | None] = {}
        self._pool = ThreadPoolExecutor(1, "clearsight-drift")

    def observe(self, seen: Observation) -> None:
        """Take one picture; called on the worker's thread."""
        if seen.prediction is None or seen.shadow:
            return
        monitor = self._monitor(seen.model, seen.version)
        if monitor is not None:
            monitor.add(seen)

    def report(self, model: str, version: str) -> dict[str, Any]:
        """Return where a version stands, in JSON's types."""
        monitor = self._monitor(model, version)
        found = {"state": "no reference"} if monitor is None else monitor.report()
        return {"model": model, "version": version, **found}

    def metrics(self) -> Iterable[Metric]:
        """Give what the newest windows said; a `Source` of the metrics."""
        labels = ["model", "version"]
        measures = [
            GaugeMetricFamily(f"clearsight_drift_{name}", text, labels=[*labels, "kind"])
            for name, text in (
                ("distance", "How far the newest window lies from the reference"),
                ("p_value", "Chance of such a distance when nothing changed"),
            )
        ]
        alarm = GaugeMetricFamily(
            "clearsight_drift_alarm", "1 when the newest window drifted", labels=labels
        )
        with self._lock:
            monitors = {key: found for key, found in self._monitors.items() if found is not None}
        for key, monitor in monitors.items():
            if not monitor.history:
                continue
            verdict = monitor.history[-1][1]
            alarm.add_metric(key, float(verdict.drifted))
            for measure in verdict.measures:
                measures[0].add_metric([*key, measure.kind], measure.distance)
                measures[1].add_metric([*key, measure.kind], measure.p_value)
        yield from measures
        yield alarm

    def close(self) -> None:
        """Finish what is being judged."""
        self._pool.shutdown()

    def _monitor(self, model: str, version: str) -> Monitor | None:
        key = (model, version)
        with self._lock:
            if key in self._monitors:
                return self._monitors[key]
        reference, classes = self._find(model, version)
        with self._lock:
            if len(self._monitors) >= MOST_MONITORS:
                self._monitors.pop(next(iter(self._monitors)))
            made = None
            if reference is not None:
                made = Monitor(reference, classes, self._window, self._soon)
            return self._monitors.setdefault(key, made)

    def _soon(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - a monitor must never stop the service
                log.failure("drift could not be judged", error)

        try:
            self._pool.submit(guarded)
        except RuntimeError:  # closed
            return
