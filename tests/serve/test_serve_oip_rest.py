"""The Open Inference Protocol over ASGI, without a socket."""

import asyncio
import base64
import json

import numpy as np
import pytest

from clearsight.serve.access.caller import SCOPES, Caller
from clearsight.serve.app import build_app
from clearsight.serve.calls import Call
from clearsight.serve.http_messages import Route
from clearsight.serve.oip.tensors import join_elements
from clearsight.serve.oip.ways import http_values
from clearsight.serve.protocols import Answer, Exchange
from clearsight.serve.protocols.oip_rest import OipRest
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.testing.protocol_channels import HttpChannel
from clearsight.testing.protocol_contract import Locked, WatchedPredictor, picture, with_key

RED, GREEN = picture("PNG", (200, 20, 20)), picture("JPEG", (20, 200, 20))
INFER = "/v2/models/watched/infer"
LENGTH = "inference-header-content-length"


def b64(data):
    return base64.b64encode(data).decode()


def image(*pictures, **more):
    return {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(pictures)],
        "data": [b64(p) for p in pictures],
        **more,
    }


class Asked:
    """What came back, with its JSON."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.status = answer, int(answer.code)
        size = int(answer.headers.get(LENGTH, len(answer.body)))
        self.json = json.loads(answer.body[:size])
        self.headers = answer.headers
        if self.status >= 400:
            assert list(self.json) == ["error"]
            assert self.json["error"]
            assert answer.headers["content-type"] == "application/json"

    @property
    def values(self):
        return http_values(self.answer)


@pytest.fixture(scope="module")
def service():
    models = [Model("watched", "7", WatchedPredictor()), Model("other", "1", WatchedPredictor())]
    service = Service(models, ServiceLimits(workers=1, body_bytes=1_000_000, pictures=4))
    yield service
    service.close()


@pytest.fixture
def ask(service):
    channel = HttpChannel(OipRest, service)

    def ask(method, target, body=b"", kind="", key=None, **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        told = tuple((name.replace("_", "-"), str(value)) for name, value in headers.items())
        exchange = Exchange(method, target, kind, body, told)
        if key:
            exchange = with_key(exchange, key)
        return Asked(asyncio.run(channel.ask(exchange)))

    return ask


@pytest.fixture
def locked(service):
    before, service.access = service.access, Locked()
    yield
    service.access = before


def test_the_server_tells_about_itself(ask):
    for path in ("/v2", "/v2/"):
        told = ask("GET", path).json
        assert list(told) == ["name", "version", "extensions"]
        assert "binary_tensor_data" in told["extensions"]
    assert ask("GET", "/v2/health/live").json == {"live": True}
    assert ask("GET", "/v2/health/ready").json == {"ready": True}


def test_a_stopping_service_is_not_ready(ask, service):
    service.ready = False
    answers = [ask("GET", path) for path in ("/v2/health/ready", "/v2/models/watched/ready")]
    live = ask("GET", "/v2/health/live")
    service.ready = True
    assert [answer.status for answer in answers] == [503, 503]
    assert live.status == 200


@pytest.mark.parametrize("base", ["/v2/models/watched", "/v2/models/watched/versions/7"])
def test_models(ask, base):
    told = ask("GET", base).json
    assert told["name"] == "watched"
    assert told["versions"] == ["7"]
    inputs = {one["name"]: (one["datatype"], one["shape"]) for one in told["inputs"]}
    assert inputs == {"image": ("BYTES", [-1]), "pixels": ("UINT8", [-1, -1, -1, 3])}
    outputs = {one["name"]: (one["datatype"], one["shape"]) for one in told["outputs"]}
    assert outputs["label"] == ("BYTES", [-1, -1])
    assert outputs["score"] == ("FP32", [-1, -1])
    assert ask("GET", f"{base}/ready").json == {"name": "watched", "ready": True}
    config = ask("GET", f"{base}/config").json
    assert config["input"][0] == {"name": "image", "data_type": "TYPE_STRING", "dims": [-1]}
    assert ask("POST", f"{base}/infer", {"inputs": [image(RED)]}).status == 200


@pytest.mark.parametrize(
    ("status", "method", "target"),
    [
        (404, "GET", "/v2/models/wathced"),
        (404, "GET", "/v2/models/watched/versions/8"),
        (404, "GET", "/v2/models/..%2F..%2Fetc"),
        (404, "POST", "/v2/models/nobody/infer"),
        (404, "POST", "/v2/models/watched/versions/8/infer"),
        (404, "GET", "/v2/models/nobody/stats"),
        (400, "GET", "/v2/models/watched?verbose=1"),
        (400, "POST", "/v2/models/watched/infer?top=3"),
        (403, "POST", "/v2/repository/index"),
        (403, "POST", "/v2/repository/models/watched/load"),
        (403, "POST", "/v2/repository/models/watched/unload"),
    ],
)
def test_addresses_that_are_refused(ask, status, method, target):
    assert ask(method, target, {"inputs": [image(RED)]}).status == status


def test_several_pictures_in_order(ask):
    answer = ask("POST", INFER, {"inputs": [image(RED, GREEN)], "parameters": {"top": 2}})
    assert answer.json["model_name"] == "watched"
    assert answer.json["model_version"] == "7"
    outputs = {one["name"]: one for one in answer.json["outputs"]}
    assert list(outputs) == ["label", "score", "accepted", "set"]
    assert outputs["label"]["shape"] == outputs["score"]["shape"] == [2, 2]
    assert outputs["label"]["data"][::2] == ["red", "green"]
    assert outputs["accepted"]["shape"] == [2]
    assert outputs["set"]["shape"] == [2]


def test_the_id_comes_back_or_a_new_one_is_made(ask):
    body = {"inputs": [image(RED)]}
    assert ask("POST", INFER, {**body, "id": "猫 7"}).json["id"] == "猫 7"
    answer = ask("POST", INFER, body, x_request_id="mine")
    assert answer.json["id"] == answer.headers["x-request-id"] == "mine"
    assert len(ask("POST", INFER, {**body, "id": None}).json["id"]) == 32


def test_outputs_that_are_asked_for_in_their_order_and_form(ask):
    outputs = [{"name": "score", "parameters": {"binary_data": True}}, {"name": "label"}]
    answer = ask("POST", INFER, {"inputs": [image(RED)], "outputs": outputs})
    assert [one["name"] for one in answer.json["outputs"]] == ["score", "label"]
    assert "data" not in answer.json["outputs"][0]
    assert answer.json["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.values["label"][0] == "red"
    binary = {"binary_data_output": True}
    outputs[0]["parameters"]["binary_data"] = False
    answer = ask("POST", INFER, {"inputs": [image(RED)], "outputs": outputs, "parameters": binary})
    assert "data" in answer.json["outputs"][0]
    assert "data" not in answer.json["outputs"][1]


@pytest.mark.parametrize("name", ["rank", "lable", ""])
def test_outputs_that_are_not_there(ask, name):
    assert ask("POST", INFER, {"inputs": [image(RED)], "outputs": [{"name": name}]}).status == 422


def test_an_output_may_be_asked_for_twice_in_two_forms(ask):
    outputs = [{"name": "score"}, {"name": "score", "parameters": {"binary_data": True}}]
    told = ask("POST", INFER, {"inputs": [image(RED)], "outputs": outputs}).json["outputs"]
    assert [one["name"] for one in told] == ["score", "score"]
    assert ["data" in one for one in told] == [True, False]


def test_a_raw_body_is_one_picture_and_answered_in_binary(ask):
    answer = ask("POST", INFER, RED, "application/octet-stream", inference_header_content_length=0)
    assert answer.values["label"][0] == "red"
    assert all("binary_data_size" in one["parameters"] for one in answer.json["outputs"])
    refused = ask("POST", INFER, b"junk", inference_header_content_length=0)
    assert refused.status == 415


def test_large_pixels_in_binary(ask):
    pixels = np.zeros((2, 200, 300, 3), np.uint8)
    pixels[0, :, :, 2] = pixels[1, :, :, 0] = 200
    size = {"binary_data_size": pixels.nbytes}
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
    header = json.dumps({"inputs": [{**tensor, "parameters": size}]}).encode()
    body = header + pixels.tobytes()
    answer = ask("POST", INFER, body, inference_header_content_length=len(header))
    assert answer.values["label"][:: len(answer.values["label"]) // 2] == ["blue", "red"]


def test_the_body_may_name_the_model_as_the_address_does(ask):
    body = {"inputs": [image(RED)], "model_name": "watched"}
    assert ask("POST", INFER, body).status == 200
    assert ask("POST", INFER, {**body, "model_version": "7"}).status == 200
    assert ask("POST", INFER, {**body, "model_name": "other"}).status == 400
    assert ask("POST", INFER, {**body, "model_version": "8"}).status == 404
    address = "/v2/models/watched/versions/7/infer"
    assert ask("POST", address, {**body, "model_version": "8"}).status == 400


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b""),
        (400, b"{"),
        (400, b"[]"),
        (400, b"\xff"),
        (400, {}),
        (422, {"inputs": []}),
        (422, {"inputs": [image(RED), image(GREEN)]}),
        (422, {"inputs": [image(RED)] * 100}),
        (422, {"inputs": [image(*[RED] * 5)]}),
        (400, {"inputs": [image(RED, parameters={"shared_memory_region": "x"})]}),
        (400, {"inputs": [image(RED, parameters={"content_type": "np"})]}),
        (400, {"inputs": [image(RED)], "parameters": {"tpo": 3}}),
        (422, {"inputs": [image(RED)], "parameters": {"top": 0}}),
        (422, {"inputs": [image(RED)], "parameters": {"top": 1001}}),
        (400, {"inputs": [image(b"")]}),
        (415, {"inputs": [image(b"no picture")]}),
        (415, {"inputs": [image(RED, b"no picture")]}),
        (413, b'{"inputs": "' + b"A" * 1_000_000 + b'"}'),
    ],
)
def test_requests_that_are_refused(ask, status, body):
    assert ask("POST", INFER, body).status == status


def test_packed_bodies_are_refused(ask):
    assert ask("POST", INFER, {"inputs": [image(RED)]}, content_encoding="gzip").status == 415


def test_priority_and_timeout_reach_the_service(ask, service, monkeypatch):
    seen: list[Call] = []
    submit = service.submit

    def watched(call):
        seen.append(call)
        return submit(call)

    monkeypatch.setattr(service, "submit", watched)
    parameters = {"priority": 3, "timeout": 2_000_000, "top": 2}
    assert ask("POST", INFER, {"inputs": [image(RED)], "parameters": parameters}).status == 200
    assert (seen[0].priority, seen[0].deadline_s, seen[0].top) == ("batch", 2.0, 2)
    assert ask("POST", INFER, {"inputs": [image(RED)]}).status == 200
    assert (seen[1].priority, seen[1].deadline_s, seen[1].top) == ("normal", None, 5)


def test_a_short_timeout_is_kept(service):
    async def run():
        channel = HttpChannel(OipRest, service)
        predictor = service.models.versions("watched")["7"].predictor
        predictor.go.clear()
        predictor.started.clear()
        body = {"inputs": [image(RED)]}
        first = asyncio.create_task(channel.ask(exchange(body)))
        assert await asyncio.to_thread(predictor.started.wait, 5)
        late = await channel.ask(exchange({**body, "parameters": {"timeout": 50_000}}))
        predictor.go.set()
        return late.code, (await first).code

    def exchange(body):
        return Exchange("POST", INFER, "application/json", json.dumps(body).encode())

    late, first = asyncio.run(run())
    assert late in ("503", "504")
    assert first == "200"


def test_statistics_count_pictures(ask, service):
    def counts():
        told = ask("GET", "/v2/models/watched/versions/7/stats").json["model_stats"]
        assert [(one["name"], one["version"]) for one in told] == [("watched", "7")]
        return told[0]

    before = counts()
    ask("POST", INFER, {"inputs": [image(RED, GREEN)]})
    ask("POST", INFER, {"inputs": [image(b"no picture")]})
    after = counts()
    assert after["inference_count"] - before["inference_count"] == 2
    stats, earlier = after["inference_stats"], before["inference_stats"]
    assert stats["success"]["count"] - earlier["success"]["count"] == 2
    assert stats["fail"]["count"] - earlier["fail"]["count"] == 1
    assert stats["compute_infer"]["ns"] > earlier["compute_infer"]["ns"]
    assert after["last_inference"] >= max(1, before["last_inference"])
    every = ask("GET", "/v2/models/stats").json["model_stats"]
    assert {one["name"] for one in every} == {"watched", "other"}
    assert [one["name"] for one in ask("GET", "/v2/models/other/stats").json["model_stats"]] == [
        "other"
    ]


def test_the_repository_with_a_key(ask, locked):
    index = ask("POST", "/v2/repository/index", key="admin").json
    row = {"version": "7", "state": "READY", "reason": ""}
    assert {"name": "watched", **row} in index
    assert ask("POST", "/v2/repository/index", {"ready": True}, key="admin").status == 200
    assert ask("POST", "/v2/repository/index", {"ready": 1}, key="admin").status == 400
    assert ask("POST", "/v2/repository/index", {"redy": True}, key="admin").status == 400
    load, unload = (f"/v2/repository/models/watched/{verb}" for verb in ("load", "unload"))
    assert ask("POST", load, key="admin").json == {}
    assert ask("POST", load, {"parameters": {"config": "{}"}}, key="admin").status == 400
    assert ask("POST", load, {"parameters": {"file:1/x": "YQ=="}}, key="admin").status == 400
    assert ask("POST", unload, {"parameters": {"unload_dependents": False}}, key="admin").json == {}
    assert (
        ask("POST", unload, {"parameters": {"unload_dependents": True}}, key="admin").status == 400
    )
    for verb in ("load", "unload"):
        nobody = f"/v2/repository/models/nobody/{verb}"
        assert ask("POST", nobody, key="admin").status == 404
        assert ask("POST", nobody, key="recognize").status == 403
        assert ask("POST", nobody).status == 401


def test_a_tenants_models_are_nobody_elses():
    models = [
        Model("everybodys", "1", WatchedPredictor()),
        Model("theirs", "1", WatchedPredictor(), tenant="acme"),
    ]
    service = Service(models, ServiceLimits(workers=1))
    service.access = Tenants()
    channel = HttpChannel(OipRest, service)

    def status(tenant, method, target, body=b""):
        exchange = with_key(Exchange(method, target, "", body), tenant)
        return Asked(asyncio.run(channel.ask(exchange))).status

    def index(tenant):
        exchange = with_key(Exchange("POST", "/v2/repository/index", "", b""), tenant)
        return [row["name"] for row in Asked(asyncio.run(channel.ask(exchange))).json]

    request = json.dumps({"inputs": [image(RED)]}).encode()
    try:
        assert index("acme") == ["everybodys", "theirs"]
        assert index("default") == ["everybodys"]
        for tenant, expected in (("acme", 200), ("default", 404)):
            for rest in ("", "/ready", "/config", "/stats", "/versions/1"):
                assert status(tenant, "GET", f"/v2/models/theirs{rest}") == expected, rest
            assert status(tenant, "POST", "/v2/models/theirs/infer", request) == expected
            for verb in ("load", "unload"):
                assert status(tenant, "POST", f"/v2/repository/models/theirs/{verb}") == expected
        assert status("acme", "POST", "/v2/repository/models/everybodys/unload") == 404
    finally:
        service.close()


class Tenants(Locked):
    """Every key may do everything; it is called like its tenant."""

    def caller(self, token, address):
        return Caller("0123456789ab", "" if token == "default" else token, frozenset(SCOPES))


def test_every_route_asks_for_its_scope(ask, service, locked):
    public = {"/v2", "/v2/", "/v2/health/live", "/v2/health/ready"}
    for route in OipRest(service).routes():
        assert isinstance(route, Route)
        target = route.path.replace("{model}", "watched").replace("{version}", "7")
        status = ask(route.method, target).status
        assert (status == 401) == (route.path not in public), route.path
        if route.path not in public:
            wrong = next(s for s in ("explain",) if s != route.scope)
            assert ask(route.method, target, key=wrong).status == 403, route.path


@pytest.mark.parametrize(
    ("status", "method", "target"),
    [(404, "GET", "/v2/nothing"), (405, "DELETE", "/v2/models/watched"), (405, "GET", INFER)],
)
def test_what_is_not_there_is_told_in_the_protocols_words(ask, status, method, target):
    assert ask(method, target).status == status


def test_the_application_has_both_protocols(service):
    assert build_app(service) is not None


def test_raw_bytes_of_two_pictures(ask):
    raw = join_elements([RED, GREEN])
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2]}
    request = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}
    header = json.dumps(request).encode()
    answer = ask("POST", INFER, header + raw, inference_header_content_length=len(header))
    labels = answer.values["label"]
    assert (labels[0], labels[len(labels) // 2]) == ("red", "green")
