"""Bodies of every shape, over ASGI without a socket."""

import asyncio
import base64
import json
import tracemalloc

import pytest

from clearsight.serve.app import build_app
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.testing.protocol_contract import WatchedPredictor, picture

RED, GREEN = picture("PNG", (200, 20, 20)), picture("JPEG", (20, 200, 20))
FORM = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def service():
    service = Service(
        [Model("watched", "7", WatchedPredictor())],
        ServiceLimits(workers=1, body_bytes=1_000_000, pictures=4),
    )
    yield service
    service.close()


@pytest.fixture
def ask(service):
    def ask(method, target, body=b"", content_type="", chunk=65536, **headers):
        path, _, query = target.partition("?")
        pieces = [body[i : i + chunk] for i in range(0, len(body), chunk)] or [b""]
        sent = {}
        fields = {"content-type": content_type, **headers}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in fields.items() if v],
        }

        async def receive():
            if not pieces:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(event):
            for key in ("status", "headers", "body"):
                if key in event:
                    sent[key] = event[key]

        asyncio.run(asyncio.wait_for(build_app(service)(scope, receive, send), 20))
        sent["headers"] = {k.decode(): v.decode() for k, v in sent["headers"]}
        kind = sent["headers"]["content-type"]
        sent["json"] = json.loads(sent["body"]) if "json" in kind and sent["body"] else None
        if sent["status"] >= 400 and method != "HEAD" and path != "/readyz":
            assert kind == "application/problem+json"
            assert sent["json"]["status"] == sent["status"]
            assert sent["json"]["id"] == sent["headers"]["x-request-id"]
        return sent

    return ask


def form(*parts, end=b"--b--\r\n", head='Content-Disposition: form-data; name="f"; filename="{}"'):
    body = b""
    for index, part in enumerate(parts):
        body += b"--b\r\n" + head.format(f"p{index}.png").encode() + b"\r\n\r\n" + part + b"\r\n"
    return body + end


def b64(data):
    return base64.b64encode(data).decode()


def test_the_answer_has_exactly_the_documented_members(ask):
    got = ask("POST", "/v1/recognize?top=2&model=watched", RED, x_request_id="my-1")["json"]
    assert list(got) == ["id", "model", "version", "predictions", "accepted"]
    assert (got["id"], got["model"], got["version"]) == ("my-1", "watched", "7")
    assert [list(item) for item in got["predictions"]] == [["label", "score"]] * 2
    assert got["predictions"][0]["label"] == "red"
    assert got["accepted"] is True


def test_a_strange_request_id_is_replaced(ask):
    got = ask("POST", "/v1/recognize", RED, x_request_id="a b\x7f<script>")
    assert got["status"] == 200
    assert "script" not in got["json"]["id"]


def test_many_files_give_one_result_each_in_order(ask):
    got = ask("POST", "/v1/recognize?top=1", form(RED, b"no picture", GREEN), FORM)
    assert got["status"] == 200
    results = got["json"]["results"]
    assert [item["name"] for item in results] == ["p0.png", "p1.png", "p2.png"]
    assert results[0]["predictions"][0]["label"] == "red"
    assert results[1]["error"]["status"] == 415
    assert results[2]["predictions"][0]["label"] == "green"


def test_many_files_of_which_none_is_a_picture_is_no_success(ask):
    got = ask("POST", "/v1/recognize", form(b"no", b"neither"), FORM)
    assert got["status"] == 415
    assert len(got["json"]["results"]) == 2


def test_one_image_in_a_list_answers_as_a_list(ask):
    body = json.dumps({"images": [b64(RED)]}).encode()
    got = ask("POST", "/v1/recognize", body, "application/json; charset=utf-8")
    assert len(got["json"]["results"]) == 1


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_pieces_of_any_size_are_one_body(ask, chunk):
    for body, kind in ((RED, ""), (form(RED), FORM)):
        got = ask("POST", "/v1/recognize", body, kind, chunk=chunk)
        assert got["json"]["predictions"][0]["label"] == "red"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b""),
        (400, b"{"),
        (400, b"[1]"),
        (400, b"{}"),
        (400, b'{"image": 3}'),
        (400, b'{"image": "a", "top": 1}'),
        (400, b'{"image": "YQ=="'),
        (400, b'{"image": "not base64!"}'),
        (400, b'{"image": "YQ"}'),
        (400, b'{"image": "data:image/png;base64,YQ=="}'),
        (400, b'{"image": "http://127.0.0.1/x.png"}'),
        (400, '{"image": "猫"}'.encode()),
        (400, b'{"image": "\\ud800"}'),
        (400, b'{"image": "\xff"}'),
        (400, b'{"image": ""}'),
        (415, b'{"image": "YQ=="}'),
        (422, b'{"images": []}'),
        (422, b'{"images": ["YQ==", "YQ==", "YQ==", "YQ==", "YQ=="]}'),
        (400, b'{"image":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        (400, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        (413, b'{"image": "' + b"A" * 1_000_000 + b'"}'),
    ],
)
def test_json_bodies_that_are_refused(ask, status, body):
    assert ask("POST", "/v1/recognize", body, "application/json")["status"] == status


NO_NAME = 'Content-Disposition: form-data; name="top"'
PACKED = (
    'Content-Disposition: form-data; name="f"; filename="f"\r\nContent-Transfer-Encoding: base64'
)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, form(RED), "multipart/form-data"),
        (400, form(RED), f"multipart/form-data; boundary={'b' * 300}"),
        (400, b"", FORM),
        (400, b"garbage", FORM),
        (400, form(RED, end=b""), FORM),
        (422, form(), FORM),
        (400, form(RED, head=NO_NAME), FORM),
        (400, form(RED, head=PACKED), FORM),
        (400, form(RED, head="X-Long: " + "x" * 100_000), FORM),
        (422, form(*[b"x"] * 5), FORM),
        (422, form(*[b""] * 15_000), FORM),
    ],
)
def test_forms_that_are_refused(ask, status, body, kind):
    assert ask("POST", "/v1/recognize", body, kind)["status"] == status


def test_too_many_parts_cost_no_memory(ask):
    body = form(*[b""] * 14_000)
    ask("POST", "/v1/recognize", form(RED), FORM)
    tracemalloc.start()
    ask("POST", "/v1/recognize", body, FORM, chunk=len(body))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("status", "target"),
    [
        (400, "/v1/recognize?top=x"),
        (400, "/v1/recognize?top="),
        (400, "/v1/recognize?top=1.5"),
        (400, "/v1/recognize?top=99999999999999999999"),
        (422, "/v1/recognize?top=0"),
        (422, "/v1/recognize?top=-1"),
        (422, "/v1/recognize?top=1001"),
        (400, "/v1/recognize?top=1&top=2"),
        (400, "/v1/recognize?tpo=1"),
        (400, "/v1/recognize?url=http://127.0.0.1/"),
        (400, "/v1/recognize?top=%ff"),
        (422, "/v1/recognize?priority=urgent"),
        (404, "/v1/recognize?model=wathced"),
        (404, "/v1/recognize?model=../../etc/passwd"),
        (404, "/v1/nothing"),
        (404, "/../pyproject.toml"),
        (404, "/page/index.html"),
    ],
)
def test_addresses_that_are_refused(ask, status, target):
    assert ask("POST", target, RED)["status"] == status


def test_top_beyond_the_classes_gives_all_of_them(ask):
    assert len(ask("POST", "/v1/recognize?top=1000", RED)["json"]["predictions"]) == 4


def test_packed_bodies_are_refused(ask):
    assert ask("POST", "/v1/recognize", RED, content_encoding="gzip")["status"] == 415


def test_methods(ask):
    assert ask("GET", "/v1/recognize")["headers"]["allow"] == "OPTIONS, POST"
    assert ask("GET", "/v1/recognize")["status"] == 405
    assert ask("DELETE", "/livez")["status"] == 405
    assert ask("OPTIONS", "/livez")["headers"]["allow"] == "GET, HEAD, OPTIONS"
    head, get = ask("HEAD", "/v1/models"), ask("GET", "/v1/models")
    assert head["body"] == b""
    assert head["headers"]["content-length"] == get["headers"]["content-length"]


def test_models_and_health(ask, service):
    model = ask("GET", "/v1/models")["json"]["models"][0]
    assert (model["name"], model["version"], len(model["classes"])) == ("watched", "7", 4)
    assert model["input"] == {"height": 8, "width": 8, "channels": 3}
    assert ask("GET", "/livez")["status"] == 200
    assert ask("GET", "/readyz")["status"] == 200
    service.ready = False
    stopping = ask("GET", "/readyz")
    service.ready = True
    assert stopping["status"] == 503
    assert stopping["headers"]["connection"] == "close"


def test_metrics_count_what_happened(ask):
    ask("POST", "/v1/recognize", RED)
    ask("POST", "/v1/recognize", b"junk")
    text = ask("GET", "/metrics")["body"].decode()
    for line in (
        'clearsight_requests_total{route="/v1/recognize",status="200"}',
        'clearsight_requests_total{route="/v1/recognize",status="415"}',
        "clearsight_request_seconds_bucket",
        'clearsight_queue_depth{priority="normal"} 0.0',
        "clearsight_in_flight 1.0",
        "clearsight_build_info{",
    ):
        assert line in text


def test_the_page_may_load_nothing_from_elsewhere(ask):
    for path in ("/", "/app.js", "/words.js", "/style.css", "/icon.svg"):
        got = ask("GET", path)
        assert got["status"] == 200
        assert "default-src 'none'" in got["headers"]["content-security-policy"]
        assert b"innerHTML" not in got["body"]
        assert b"https://" not in got["body"]


def test_every_word_of_the_page_is_there_in_both_languages(ask):
    import re

    words = ask("GET", "/words.js")["body"].decode()
    english, chinese = words.split("  zh: {")
    names = [set(re.findall(r"^    (\w+):", part, re.M)) for part in (english, chinese)]
    assert names[0] == names[1]
    html = ask("GET", "/")["body"].decode()
    assert set(re.findall(r'data-(?:word|label)="(\w+)"', html)) <= names[0]
