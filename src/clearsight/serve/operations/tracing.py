"""OpenTelemetry traces: one span a request, below it the stages of its pictures.

Off unless the standard variables ask for it: OTEL_EXPORTER_OTLP_ENDPOINT or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or OTEL_TRACES_EXPORTER=otlp. Spans are made when a request is
answered, from what was measured anyway, and are sent by a thread of the OpenTelemetry SDK.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clearsight.core.errors import MissingExtraError
from clearsight.core.version import __version__
from clearsight.serve.errors import StartError
from clearsight.serve.log import LOG
from clearsight.serve.operations.requests import Answered, Seen
from clearsight.serve.status import status_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
HTTP_PROTOBUF = "http/protobuf"
SERVER_ERROR = 500
LONGEST_PARENT, LONGEST_STATE = 128, 512  # longer ones start a new trace, and no log line


class Tracer:
    """Makes spans of answered requests.

    Args:
        processor: takes finished spans; the SDK's batching one around the OTLP exporter where None.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
    """

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.trace.propagation.tracecontext import (
                TraceContextTextMapPropagator,
            )
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "opentelemetry", "tracing", "Tracing") from error
        _log_as_we_do()
        self._provider = TracerProvider(
            resource=Resource.create(_about_this_service()),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor or _exporting())
        self._tracer = self._provider.get_tracer("clearsight", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def record(self, answered: Answered, pictures: Sequence[Seen]) -> None:
        """Make the spans of one request; a `Sink` of `Requests`."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        carrier = {}
        if (
            len(answered.traceparent) <= LONGEST_PARENT
            and len(answered.tracestate) <= LONGEST_STATE
        ):
            carrier = {"traceparent": answered.traceparent, "tracestate": answered.tracestate}
        span = self._tracer.start_span(
            f"{answered.method} {answered.route}",
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=_request_attributes(answered, pictures),
            start_time=_ns(answered.started),
        )
        if span.is_recording():
            below = set_span_in_context(span)
            for number, seen in enumerate(pictures):
                self._record_picture(below, number, seen)
        if answered.status >= SERVER_ERROR:
            _mark_failed(span, str(answered.status))
        span.end(_ns(answered.started + answered.seconds))

    def close(self) -> None:
        """Send what is left, and end."""
        self._provider.shutdown()

    def _record_picture(self, context: Any, number: int, seen: Seen) -> None:
        observation = seen.observation
        ended = seen.ended
        begins = ended - observation.infer_s - observation.decode_s - observation.queue_s
        for stage in ("queue", "decode", "infer"):
            ends = begins + getattr(observation, f"{stage}_s")
            attributes: dict[str, Any] = {"clearsight.picture": number}
            if stage == "infer":
                attributes["clearsight.batch"] = observation.batch
            span = self._tracer.start_span(
                stage, context=context, attributes=attributes, start_time=_ns(begins)
            )
            if stage == "infer" and observation.error is not None:
                _mark_failed(span, status_of(observation.error).slug)
            span.end(_ns(ends))
            begins = ends


def tracer_of(environment: Mapping[str, str]) -> Tracer | None:
    """Return a tracer when the standard variables ask for one.

    Args:
        environment: `os.environ`.

    Raises:
        StartError: an exporter or protocol that is not to be had here.
        MissingExtraError: traces are asked for and OpenTelemetry is not installed.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter == "none" or not (exporter or any(environment.get(name) for name in ENDPOINTS)):
        return None
    if exporter not in ("", "otlp"):
        raise StartError(f"OTEL_TRACES_EXPORTER is {exporter!r}. Allowed: otlp, none.")
    for name in PROTOCOLS:
        if environment.get(name, HTTP_PROTOBUF) != HTTP_PROTOBUF:
            raise StartError(f"{name} is {environment[name]!r}. Allowed: {HTTP_PROTOBUF}.")
    return Tracer()


def _exporting() -> SpanProcessor:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        package = "opentelemetry-exporter-otlp-proto-http"
        raise MissingExtraError(package, "tracing", "Tracing") from error
    return BatchSpanProcessor(OTLPSpanExporter())


class _IntoOurLog(logging.Handler):
    """Writes what the SDK says, such as that the collector is away, as lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        LOG.write("warning", "traces", cause=record.getMessage()[:300])


def _log_as_we_do() -> None:
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _IntoOurLog) for handler in logger.handlers):
        logger.addHandler(_IntoOurLog(logging.WARNING))
        logger.propagate = False


def _about_this_service() -> dict[str, Any]:
    """Return what the standard variables leave open."""
    about: dict[str, Any] = {"service.version": __version__}
    given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in given:
        about["service.name"] = "clearsight"
    return about


def _request_attributes(answered: Answered, pictures: Sequence[Seen]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "http.request.method": answered.method,
        "http.route": answered.route,
        "http.response.status_code": answered.status,
        "clearsight.request_id": answered.id,
        "clearsight.pictures": len(pictures),
    }
    if answered.caller_id:
        attributes["clearsight.key"] = answered.caller_id
    if pictures:
        attributes["clearsight.model"] = pictures[0].observation.model
        attributes["clearsight.version"] = pictures[0].observation.version
    return attributes


def _mark_failed(span: Any, reason: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", reason)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
