"""Live figures: as one JSON object for the page, and as gauges for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from clearsight.serve.access.caller import Caller
from clearsight.serve.calls import PRIORITIES
from clearsight.serve.catalogue import Entry
from clearsight.serve.log import LOG
from clearsight.serve.metrics import SECONDS, Key, Outcome
from clearsight.serve.models import Model
from clearsight.serve.service import Service

MOST_VERSIONS = 20
"""Versions of one model that the page is told of: those with a role, in memory, or lately used."""

Counted = tuple[int, dict[Outcome, int], list[int], float]


def stats(service: Service, caller: Caller) -> dict[str, Any]:
    """Return what the page shows of models that this caller may see.

    Counts only ever grow: two answers give the rates and the latency of the time between them.
    """
    counted = service.metrics.snapshot()
    return {
        "time": round(time.time(), 3),
        "ready": service.ready,
        "queue": {name: service.queue.waiting(name) for name in PRIORITIES},
        "refusals": service.metrics.refusal_counts(),
        "bounds": list(SECONDS),
        "models": [
            _about_model(service, entry, counted) for entry in service.models.entries(caller)
        ],
    }


def service_metrics(service: Service) -> Iterable[Metric]:
    """Give queue depth, memory and roles as they are now; a `Source` of the metrics."""
    depth = GaugeMetricFamily("clearsight_queue_depth", "Pictures waiting", labels=["priority"])
    for lane in (*PRIORITIES, "shadow"):
        depth.add_metric([lane], service.queue.waiting(lane))
    yield depth
    labels = ["model", "version"]
    memory = GaugeMetricFamily(
        "clearsight_model_memory_bytes", "What a loaded version takes", labels=labels
    )
    last = GaugeMetricFamily(
        "clearsight_model_last_load_seconds", "Until a version was last in memory", labels=labels
    )
    role = GaugeMetricFamily(
        "clearsight_model_role", "1 for what a version is at the moment", labels=[*labels, "role"]
    )
    roles = _roles(service)
    for model in service.models.every():
        key = [model.name, model.version]
        if model.loaded:
            memory.add_metric(key, model.memory_bytes)
        if model.load_s:
            last.add_metric(key, model.load_s)
        for name in roles.get((model.name, model.version), ()):
            role.add_metric([*key, name], 1.0)
    yield from (memory, last, role)
    yield from _shadow_metrics(service)
    dropped = CounterMetricFamily(
        "clearsight_log_dropped", "Log lines and traces that did not fit, or had no reader"
    )
    dropped.add_metric([], LOG.dropped + service.requests.dropped)
    yield dropped


def _shadow_metrics(service: Service) -> Iterable[Metric]:
    labels = ["model", "production", "shadow"]
    compared = CounterMetricFamily(
        "clearsight_shadow_compared", "Pictures that both versions answered", labels=labels
    )
    same = CounterMetricFamily(
        "clearsight_shadow_same_label", "Of these, with the same best label", labels=labels
    )
    for model in {model.name for model in service.models.every()}:
        for pair in service.shadows.report(model):
            key = [model, pair.production, pair.shadow]
            compared.add_metric(key, pair.pictures)
            same.add_metric(key, pair.same_label)
    yield compared
    yield same


def _roles(service: Service) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for entry in service.models.every_entry():
        for version in entry.wanted():
            found[entry.name, version] = roles_of(entry, version)
    return found


def roles_of(entry: Entry, version: str) -> list[str]:
    """Return what a version is at the moment: production, canary, shadow; nothing for the rest."""
    canary = entry.canary[0] if entry.canary else None
    named = {"production": entry.production, "canary": canary, "shadow": entry.shadow}
    return [role for role, which in named.items() if which == version]


def _about_model(service: Service, entry: Entry, counted: dict[Key, Counted]) -> dict[str, Any]:
    models = service.models.versions(entry.name)
    wanted = entry.wanted()
    others = sorted(
        (m for v, m in models.items() if v not in wanted), key=lambda m: (not m.loaded, -m.used)
    )
    shown = [*(models[v] for v in wanted), *others][:MOST_VERSIONS]
    return {
        "name": entry.name,
        "canary_share": entry.canary[1] if entry.canary else 0.0,
        "versions": [_about_version(model, entry, counted) for model in shown],
        "more_versions": len(models) - len(shown),
        "comparisons": [asdict(pair) for pair in service.shadows.report(entry.name)],
    }


def _about_version(model: Model, entry: Entry, counted: dict[Key, Counted]) -> dict[str, Any]:
    state = "loaded" if model.loaded else "failed" if model.problem else "cold"
    return {
        "version": model.version,
        "state": state,
        "roles": roles_of(entry, model.version),
        "engine": model.engine,
        "variant": model.variant,
        "memory_bytes": model.memory_bytes,
        "load_s": round(model.load_s, 3),
        "live": _counts(counted.get((model.name, model.version, False))),
        "shadow": _counts(counted.get((model.name, model.version, True))),
    }


def _counts(found: Counted | None) -> dict[str, Any]:
    if found is None:
        return {"answered": 0, "failed": 0, "seconds": 0.0, "buckets": [0] * (len(SECONDS) + 1)}
    pictures, outcomes, buckets, seconds = found
    answered = outcomes.get("answered", 0)
    return {
        "answered": answered,
        "failed": pictures - answered,
        "seconds": round(seconds, 4),
        "buckets": buckets,
    }
