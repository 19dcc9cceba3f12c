"""Metrics: counted rightly, bounded, and readable by Prometheus; live figures for the page."""

import json
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from clearsight.core.errors import ImageError
from clearsight.core.nouns import Prediction
from clearsight.serve.calls import Observation
from clearsight.serve.errors import ExpiredError, ModelFailedError, OverloadedError
from clearsight.serve.metrics import MOST_SERIES, SECONDS, Metrics
from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

RED = picture("PNG", (200, 20, 20))


def seen(
    model="m",
    version="1",
    error=None,
    queue_s=0.0,
    decode_s=0.0,
    infer_s=0.0,
    batch=1,
    shadow=False,
):
    prediction = None if error else Prediction(("a",), (0.9,))
    return Observation(
        "r", model, version, "", prediction, error, queue_s, decode_s, infer_s, batch, None, shadow
    )


def read(text):
    """Return the value of every sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(samples, name, **labels):
    return samples[name, tuple(sorted(labels.items()))]


def test_a_picture_is_counted_in_every_stage():
    metrics = Metrics()
    metrics.observe(seen(queue_s=0.004, decode_s=0.001, infer_s=0.03, batch=4))
    metrics.observe(seen(queue_s=40.0))
    metrics.observe(seen(shadow=True, infer_s=0.5))
    samples = read(metrics.text())
    live = {"model": "m", "version": "1", "traffic": "live"}
    assert value(samples, "clearsight_pictures_total", outcome="answered", **live) == 2
    assert value(samples, "clearsight_queue_seconds_count", **live) == 2
    assert value(samples, "clearsight_queue_seconds_bucket", le="0.005", **live) == 1
    assert value(samples, "clearsight_queue_seconds_bucket", le="30.0", **live) == 1
    assert value(samples, "clearsight_queue_seconds_bucket", le="+Inf", **live) == 2
    assert value(samples, "clearsight_decode_seconds_bucket", le="0.001", **live) == 2, "<= bound"
    assert value(samples, "clearsight_infer_seconds_sum", **live) == pytest.approx(0.03)
    assert value(samples, "clearsight_total_seconds_sum", **live) == pytest.approx(40.035)
    assert value(samples, "clearsight_batch_pictures_bucket", le="4.0", **live) == 2
    shadow = {**live, "traffic": "shadow"}
    assert value(samples, "clearsight_infer_seconds_sum", **shadow) == 0.5


def test_what_became_of_pictures():
    metrics = Metrics()
    for error in (None, ImageError("format", "x"), ExpiredError("x"), ModelFailedError("x")):
        metrics.observe(seen(error=error))
    samples = read(metrics.text())
    live = {"model": "m", "version": "1", "traffic": "live"}
    found = {
        dict(labels)["outcome"]: count
        for (name, labels), count in samples.items()
        if name == "clearsight_pictures_total"
    }
    assert found == {"answered": 1, "bad-picture": 1, "expired": 1, "failed": 1}
    assert value(samples, "clearsight_total_seconds_count", **live) == 1, "answers only"


def test_refusals_have_reasons_of_the_table():
    metrics = Metrics()
    metrics.refused(OverloadedError("x", 1.0))
    metrics.refused(ImageError("pixels", "x"))
    metrics.refused(ValueError("secret"))
    assert metrics.refusal_counts() == {"overloaded": 1, "image-pixels": 1, "internal-error": 1}


def test_labels_are_bounded():
    metrics = Metrics()
    for number in range(MOST_SERIES + 300):
        metrics.observe(seen(version=str(number)))
    samples = read(metrics.text())
    versions = {dict(labels).get("version") for _, labels in samples} - {None}
    assert len(versions) <= MOST_SERIES + 2
    other = {"model": "other", "version": "other", "traffic": "live", "outcome": "answered"}
    assert value(samples, "clearsight_pictures_total", **other) == 300


def test_buckets_never_fall():
    metrics = Metrics()
    for number in range(200):
        metrics.observe(seen(infer_s=number / 50))
    samples = read(metrics.text())
    labels = {"model": "m", "version": "1", "traffic": "live"}
    bounds = [*map(str, map(float, SECONDS)), "+Inf"]
    counts = [value(samples, "clearsight_infer_seconds_bucket", le=b, **labels) for b in bounds]
    assert counts == sorted(counts)
    assert counts[-1] == 200


def ask(url, path, body=None):
    with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=20) as answer:
        return answer.read()


def test_a_running_service_tells_what_it_does(colours):
    with running_service([colours]) as service:
        version = json.loads(ask(service.url, "/v1/recognize", RED))["version"]
        for _ in range(4):
            ask(service.url, "/v1/recognize", RED)
        samples = read(ask(service.url, "/metrics"))
        stats = json.loads(ask(service.url, "/v1/stats"))
    mine = {"model": "colours", "version": version}
    live = {**mine, "traffic": "live"}
    assert value(samples, "clearsight_pictures_total", outcome="answered", **live) == 5
    assert value(samples, "clearsight_total_seconds_sum", **live) > 0
    assert value(samples, "clearsight_queue_depth", priority="normal") == 0
    assert value(samples, "clearsight_model_role", role="production", **mine) == 1
    assert value(samples, "clearsight_model_memory_bytes", **mine) > 0
    assert value(samples, "clearsight_model_loads_total", model="colours") == 1
    assert value(samples, "clearsight_model_load_seconds_count", model="colours") == 1
    assert value(samples, "clearsight_requests_total", route="/v1/recognize", status="200") == 5
    assert value(samples, "clearsight_request_seconds_count", route="/v1/recognize") == 5
    assert value(samples, "process_resident_memory_bytes") > 10_000_000
    [model] = stats["models"]
    [told] = model["versions"]
    assert (model["name"], told["version"], told["roles"]) == ("colours", version, ["production"])
    assert told["state"] == "loaded"
    assert told["live"]["answered"] == sum(told["live"]["buckets"]) == 5
    assert len(told["live"]["buckets"]) == len(stats["bounds"]) + 1


def test_addresses_that_do_not_exist_make_no_labels(running):
    for number in range(20):
        with pytest.raises(urllib.error.HTTPError):
            ask(running.url, f"/nowhere/{number}")
    samples = read(ask(running.url, "/metrics"))
    routes = {dict(labels).get("route") for _, labels in samples} - {None}
    assert "other" in routes
    assert not any("nowhere" in route for route in routes)
