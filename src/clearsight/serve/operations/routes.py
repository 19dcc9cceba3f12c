"""What an operator can ask a running service: live figures, drift, and where corrections go."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from pathlib import Path
from typing import Any

from clearsight.core.errors import nearest
from clearsight.core.reference import Reference
from clearsight.data.decode import Limits
from clearsight.serve.errors import (
    FormatRefusedError,
    ImpossibleRequestError,
    MalformedRequestError,
)
from clearsight.serve.http_messages import Request, Response, Route, json_response
from clearsight.serve.log import LOG
from clearsight.serve.models import Model
from clearsight.serve.operations.feedback import Correction, Feedback, RecentAnswers
from clearsight.serve.operations.monitors import Monitors
from clearsight.serve.operations.requests import log_line
from clearsight.serve.operations.stats import service_metrics, stats
from clearsight.serve.operations.tracing import Tracer
from clearsight.serve.service import Service

FIELDS = ("label", "request", "image")


class Operations:
    """Watches one service, and answers what its operators ask.

    Args:
        service: what is watched.
        store: its store folder; None takes no corrections.
        tracer: makes traces; None makes none.
    """

    def __init__(
        self, service: Service, store: Path | None = None, tracer: Tracer | None = None
    ) -> None:
        self._service, self._tracer = service, tracer
        limits = service.limits
        if LOG.wants("info"):
            service.requests.add(log_line)
        if tracer is not None:
            service.requests.add(tracer.record)
        self.monitors = Monitors(self._reference, limits.drift_window)
        service.observe(self.monitors.observe, embeddings=limits.drift_features)
        self.feedback: Feedback | None = None
        self._recent = RecentAnswers()
        if store is not None:
            picture = Limits(limits.body_bytes, limits.pixels)
            self.feedback = Feedback(store, limits.feedback_bytes, picture)
            service.observe(self._recent.observe)
        service.metrics.add_source(lambda: service_metrics(service))
        service.metrics.add_source(self.monitors.metrics)

    def routes(self) -> list[Route]:
        """Return the addresses of this service's operation; feedback only with a store."""
        routes = [
            Route("GET", "/v1/stats", self.stats, "metrics"),
            Route("GET", "/v1/models/{name}/drift", self.drift, "metrics"),
        ]
        if self.feedback is not None:
            routes.append(Route("POST", "/v1/feedback", self.correct, "recognize"))
        return routes

    def close(self) -> None:
        """Write and send what is left."""
        self._service.requests.close()
        self.monitors.close()
        if self._tracer is not None:
            self._tracer.close()
        LOG.flush()

    async def stats(self, request: Request) -> Response:
        """Answer GET /v1/stats: counts that only grow, for the page."""
        request.options()
        return json_response(stats(self._service, request.caller))

    async def drift(self, request: Request) -> Response:
        """Answer GET /v1/models/{name}/drift: how far live answers lie from the reference."""
        options = request.options("version")
        name = request.path_values["name"]
        model = self._service.models.resolve(
            name, options.get("version", "production"), request.caller
        )
        return json_response(self.monitors.report(model.name, model.version))

    async def correct(self, request: Request) -> Response:
        """Answer POST /v1/feedback: keep what a picture really shows."""
        request.options()
        assert self.feedback is not None
        body = await _body(request)
        values = await asyncio.to_thread(_values, body)  # base64 of a large picture takes a while
        caller = request.caller
        answer = self._recent.find(values["request"], caller.id)
        correction = await asyncio.to_thread(
            self.feedback.add,
            values["label"],
            values["image"],
            values["request"],
            answer,
            caller.id,
            caller.tenant,
        )
        self._count(correction)
        # what was predicted is not told: a request's id can be guessed where there are no keys
        told = {"id": correction.id, "label": correction.label, "picture": bool(correction.picture)}
        return json_response(told)

    def _count(self, correction: Correction) -> None:
        right = "unknown"
        if correction.predicted:
            right = "yes" if correction.predicted == correction.label else "no"
        self._service.metrics.corrections.labels(correction.model or "unknown", right).inc()

    def _reference(self, name: str, version: str) -> tuple[Reference | None, tuple[str, ...]]:
        models = [m for m in self._service.models.every() if (m.name, m.version) == (name, version)]
        manifest = manifest_of(models[0]) if models else None
        if manifest is None:
            return None, ()
        return manifest.reference, tuple(manifest.classes)


def manifest_of(model: Model) -> Any:
    """Return the manifest of a version's Bundle, None for a predictor without one."""
    if model.source is not None:
        return model.bundle().manifest
    return getattr(model.predictor, "manifest", None)


async def _body(request: Request) -> bytes:
    kind = request.header(b"content-type").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise FormatRefusedError("A correction is sent as Content-Type: application/json.")
    return await request.body()


def _values(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedRequestError("The body is not valid JSON.") from error
    expected = 'Send {"label": "...", "request": "<id of the answer>", "image": "<base64>"}.'
    if not isinstance(value, dict):
        raise MalformedRequestError(f"The JSON body must be an object. {expected}")
    if unknown := sorted(set(value) - set(FIELDS)):
        raise MalformedRequestError(
            f"Unknown JSON field {unknown[0][:80]!r}.{nearest(unknown[0][:80], FIELDS)}"
        )
    if not all(isinstance(item, str) for item in value.values()):
        raise MalformedRequestError(f"Every field is a text. {expected}")
    if "label" not in value:
        raise MalformedRequestError(f"The field 'label' is missing. {expected}")
    if not {"request", "image"} & set(value):
        raise ImpossibleRequestError(f"Name the request, or send the picture. {expected}")
    return {
        "label": value["label"],
        "request": value.get("request", "")[:64],
        "image": _unbase64(value["image"]) if "image" in value else None,
    }


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise MalformedRequestError("'image' is not valid base64 (RFC 4648).") from error
