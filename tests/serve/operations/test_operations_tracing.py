"""Traces: one span a request, its stages below, the client's trace continued."""

import json
import threading
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from clearsight.core.nouns import Prediction
from clearsight.serve.calls import Observation
from clearsight.serve.errors import ModelFailedError, StartError
from clearsight.serve.log import LOG
from clearsight.serve.operations.requests import MOST_PENDING, Answered, Requests, Seen
from clearsight.serve.operations.tracing import Tracer, tracer_of
from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

RED = picture("PNG", (200, 20, 20))
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def traced():
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter = memory.InMemorySpanExporter()
    tracer = Tracer(SimpleSpanProcessor(exporter))
    yield tracer, exporter.get_finished_spans
    tracer.close()


def seen(error=None):
    prediction = None if error else Prediction(("red",), (0.9,))
    return Seen(Observation("r1", "m", "3", "k", prediction, error, 0.2, 0.03, 0.1, 4), 1000.4)


def answered(**values):
    usual = {"id": "r1", "method": "POST", "route": "/v1/recognize", "status": 200}
    return Answered(**{**usual, "started": 1000.0, "seconds": 0.5, "caller_id": "k", **values})


def test_a_request_and_its_stages(traced):
    tracer, spans = traced
    tracer.record(answered(), [seen()])
    found = {span.name: span for span in spans()}
    root = found["POST /v1/recognize"]
    assert set(found) == {"POST /v1/recognize", "queue", "decode", "infer"}
    assert (root.start_time, root.end_time) == (1000_000_000_000, 1000_500_000_000)
    assert root.attributes["clearsight.model"] == "m"
    assert root.attributes["http.response.status_code"] == 200
    assert root.parent is None
    stages = [found[name] for name in ("queue", "decode", "infer")]
    assert all(span.parent.span_id == root.context.span_id for span in stages)
    assert [span.end_time for span in stages[:-1]] == [span.start_time for span in stages[1:]]
    assert stages[-1].end_time == pytest.approx(1000.4e9, abs=1000)
    assert found["infer"].attributes["clearsight.batch"] == 4


def test_the_clients_trace_is_continued(traced):
    tracer, spans = traced
    tracer.record(answered(traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="a=b"), [])
    [root] = spans()
    assert format(root.context.trace_id, "032x") == TRACE
    assert format(root.parent.span_id, "016x") == PARENT


def test_a_client_that_does_not_sample_gets_no_spans(traced):
    tracer, spans = traced
    tracer.record(answered(traceparent=f"00-{TRACE}-{PARENT}-00"), [seen()])
    assert spans() == ()


@pytest.mark.parametrize("junk", ["", "x", "00-" + "0" * 32 + f"-{PARENT}-01", "f" * 5000])
def test_a_broken_traceparent_starts_a_new_trace(traced, junk, capfd):
    tracer, spans = traced
    tracer.record(answered(traceparent=junk, tracestate=junk), [])
    LOG.flush()
    assert capfd.readouterr().err == "", "a client cannot fill the log"
    assert format(spans()[0].context.trace_id, "032x") != TRACE


def test_failures_are_marked(traced):
    tracer, spans = traced
    tracer.record(answered(status=500), [seen(ModelFailedError("secret detail"))])
    found = {span.name: span for span in spans()}
    assert not found["POST /v1/recognize"].status.is_ok
    assert found["infer"].attributes["error.type"] == "model-failed"
    assert "secret detail" not in "".join(span.to_json() for span in spans())


def test_it_is_off_unless_asked_for():
    assert tracer_of({}) is None
    assert (
        tracer_of({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"})
        is None
    )
    assert (
        tracer_of({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}) is None
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_is_not_to_be_had_is_refused(environment):
    with pytest.raises(StartError, match="Allowed"):
        tracer_of(environment)


def test_nothing_of_it_is_imported_unless_asked_for(running):
    assert not {"opentelemetry", "structlog"} & set(running.modules)


def test_a_collector_that_is_away_delays_neither_answers_nor_the_end(colours, tmp_path):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="NO OTLP EXPORTER HERE")
    before = f"import os; os.dup2(os.open({str(tmp_path / 'log')!r}, os.O_CREAT | os.O_WRONLY), 2)"
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with running_service([colours], before=before, environment=environment, linger_s=0) as service:
        for _ in range(3):
            request = urllib.request.Request(f"{service.url}/v1/recognize", RED)
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert answer.status == 200
        service.terminate()
        assert service.process.wait(30) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(json.loads(line)["event"] == "traces" for line in lines), lines


def test_requests_wait_for_late_pictures_and_are_bounded():
    told = []
    requests = Requests([lambda request, pictures: told.append((request.id, len(pictures)))])
    requests.answered(answered())
    requests.observe(seen().observation)
    requests.close()
    assert told == [("r1", 1)]
    nobody = Requests()
    nobody.observe(seen().observation)
    nobody.answered(answered())
    nobody.close()
    assert nobody._pending == {}


def test_what_waits_for_an_answer_is_bounded_and_holds_no_embedding():
    held = []
    requests = Requests([lambda request, pictures: held.extend(pictures)])
    for number in range(MOST_PENDING + 50):
        observation = replace(seen().observation, request_id=f"r{number}", embedding=np.ones(9))
        requests.observe(observation)
    assert len(requests._pending) == MOST_PENDING
    requests.answered(answered(id=f"r{MOST_PENDING}"))
    requests.close()
    assert [one.observation.embedding for one in held] == [None]


def test_a_sink_that_fails_does_not_stop_the_others(capfd):
    told = []

    def broken(request, pictures):
        raise ValueError("no")

    requests = Requests([broken, lambda request, pictures: told.append(request.id)])
    requests.answered(answered())
    requests.close()
    assert told == ["r1"]


class Receiver(BaseHTTPRequestHandler):
    """A collector that keeps what it is sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def test_spans_of_a_running_service_arrive_at_a_collector(colours):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="NO OTLP EXPORTER HERE")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.received = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "OTEL_SERVICE_NAME": "shoes",
    }
    try:
        with running_service([colours], environment=environment, linger_s=0) as service:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            request = urllib.request.Request(f"{service.url}/v1/recognize", RED, headers)
            with urllib.request.urlopen(request, timeout=20) as answer:
                told = json.load(answer)
            service.terminate()
            service.process.wait(30)
    finally:
        server.shutdown()
        server.server_close()
    path, kind, _ = server.received[0]
    assert (path, kind) == ("/v1/traces", "application/x-protobuf")
    spans, services = [], set()
    for _, _, body in server.received:
        message = ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            values = {item.key: item.value.string_value for item in resource.resource.attributes}
            services.add(values["service.name"])
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    assert services == {"shoes"}
    assert {span.name for span in spans} == {"POST /v1/recognize", "queue", "decode", "infer"}
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    root = next(span for span in spans if span.name.startswith("POST"))
    assert root.parent_span_id.hex() == PARENT
    values = {item.key: item.value.string_value for item in root.attributes}
    assert values["clearsight.request_id"] == told["id"]
    assert values["clearsight.model"] == "colours"
