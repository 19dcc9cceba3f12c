"""POST /v1/explain: an explanation with its proof, bounded in number and time."""

import asyncio
import base64
import gc
import json
import threading
import time
import urllib.error
import urllib.request
import weakref

import cv2
import numpy as np
import pytest

from clearsight.core.errors import ClearsightError
from clearsight.engines.open import open_predictor
from clearsight.serve.calls import Call
from clearsight.serve.errors import ClientLeftError, ExpiredError, OverloadedError
from clearsight.serve.explaining import WAITING, Explaining, Wish, _Work
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.testing.model_bundle import write_model_bundle
from clearsight.testing.protocol_contract import WatchedPredictor, picture
from clearsight.testing.small_network import SmallNetwork, noise_images


def half_red() -> bytes:
    """Grey on the left, red on the right half of 40 x 60 pixels."""
    image = np.full((40, 60, 3), 100, np.uint8)
    image[:, 30:] = (0, 0, 230)
    return cv2.imencode(".png", image)[1].tobytes()


def post(url, body, target="/v1/explain"):
    request = urllib.request.Request(f"{url}{target}", body)
    request.add_header("Content-Type", "application/octet-stream")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_an_explanation_carries_its_proof(running):
    status, told = post(running.url, half_red())
    assert status == 200
    assert told["predictions"][0]["label"] == "red"
    why = told["explanation"]
    assert (why["label"], why["method"]) == ("red", "rise")
    y, x = why["peak"]
    assert 0 <= y < 40
    assert 30 <= x < 60
    assert why["insertion"] > why["random_insertion"]
    assert why["deletion"] < why["random_deletion"]
    assert isinstance(why["faithful"], bool)  # blurring keeps the mean that this model looks at
    heat = cv2.imdecode(np.frombuffer(base64.b64decode(why["map"]), np.uint8), -1)
    assert heat.shape[2] == 4
    assert heat.shape[0] * 60 == heat.shape[1] * 40
    middle = heat.shape[1] // 2
    assert heat[:, middle:, 3].mean() > 2 * heat[:, :middle, 3].mean()


def test_options(running):
    status, told = post(running.url, half_red(), "/v1/explain?method=occlusion&class=green")
    assert status == 200
    assert told["explanation"]["label"] == "green"
    assert told["explanation"]["method"] == "occlusion"
    status, told = post(running.url, half_red(), "/v1/explain?class=red&against=blue")
    assert told["explanation"]["against"] == "blue"


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("/v1/explain?method=ocllusion", 422, "occlusion"),
        ("/v1/explain?method=grad-cam", 422, "not offered by the service"),
        ("/v1/explain?class=purple", 422, "Unknown class"),
        ("/v1/explain?class=red&against=red", 422, "against itself"),
        ("/v1/explain?model=nothing", 404, "nothing"),
        ("/v1/explain?masks=3", 400, "masks"),
        ("/v1/explain?deadline=0.000001", 504, "deadline"),
    ],
)
def test_refusals(running, target, code, words):
    status, told = post(running.url, half_red(), target)
    assert status == code, told
    assert words in told["detail"]


def test_one_picture_and_a_usable_one(running):
    status, _ = post(running.url, b"nothing")
    assert status in (400, 415)
    body = json.dumps({"images": [base64.b64encode(half_red()).decode()] * 2}).encode()
    request = urllib.request.Request(f"{running.url}/v1/explain", body)
    request.add_header("Content-Type", "application/json")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    assert caught.value.code == 422


def test_the_openapi_document_tells_of_it(running):
    with urllib.request.urlopen(f"{running.url}/openapi.json", timeout=10) as answer:
        told = json.load(answer)["paths"]["/v1/explain"]["post"]
    enum = next(p for p in told["parameters"] if p["name"] == "method")["schema"]["enum"]
    assert enum == ["auto", "cam", "occlusion", "rise"]


def work(**changes):
    settings = {
        "predictor": WatchedPredictor(),
        "wish": Wish(),
        "ends": 1e12,
        "gone": threading.Event(),
        "limits": (10**6, 10**6),
    }
    return _Work(**{**settings, **changes})


def test_it_stops_at_its_deadline_and_when_nobody_waits():
    late = work(ends=0.0)
    with pytest.raises(ExpiredError):
        late._guarded(late.predictor.logits)(np.zeros((40, 8, 8, 3), np.uint8))
    left = work()
    left.gone.set()
    with pytest.raises(ClientLeftError):
        left._guarded(left.predictor.logits)(np.zeros((40, 8, 8, 3), np.uint8))


def test_too_many_are_refused_at_once():
    service = Service([Model("watched", "7", WatchedPredictor())], ServiceLimits(workers=1))
    try:
        explaining = Explaining(service)
        explaining._waiting = WAITING
        with pytest.raises(OverloadedError) as caught:
            asyncio.run(explaining.explain(None, Call([]), Wish()))
        assert isinstance(caught.value, ClearsightError)
        assert caught.value.retry_after_s > 0
    finally:
        service.close()


def test_a_model_is_let_go_after_it_was_explained(tmp_path):
    """What is kept of a model must not hold the model."""
    network = SmallNetwork()
    outputs = ("logits", "embedding", "features")
    path = tmp_path / "small"
    write_model_bundle(path, network.onnx_model(), noise_images(4), outputs, network.weights)
    service = Service([Model("watched", "7", WatchedPredictor())], ServiceLimits(workers=1))
    try:
        explaining = Explaining(service)
        predictor = open_predictor(path, "onnxruntime")
        subject = explaining._subject(predictor)
        assert subject.evidence is not None
        assert len(explaining._heads) == 1
        gone = weakref.ref(predictor)
        del predictor, subject
        gc.collect()
        assert gone() is None
        assert not explaining._heads
    finally:
        service.close()


def test_a_cancelled_explanation_ends_and_gives_its_place_back():
    """A thread that nobody waits for must not run on."""
    asked, gone_on, runs = threading.Event(), threading.Event(), []

    class Slow(WatchedPredictor):
        def logits(self, images):
            runs.append(len(images))
            if len(runs) == 2:
                asked.set()
                gone_on.wait(10)
            return super().logits(images)

    class Here:
        async def left(self):
            await asyncio.sleep(60)

    async def cancelled(explaining):
        task = asyncio.ensure_future(
            explaining._in_turn(Here(), Slow(), half_red(), Wish(), time.monotonic() + 60)
        )
        await asyncio.to_thread(asked.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not explaining._place.locked()
        gone_on.set()

    service = Service([Model("watched", "7", WatchedPredictor())], ServiceLimits(workers=1))
    try:
        asyncio.run(cancelled(Explaining(service)))  # returns when the thread has ended
        assert len(runs) == 2
    finally:
        service.close()


def test_the_key_needs_the_scope(running):
    from clearsight.serve.app import every_route

    service = Service([Model("watched", "7", WatchedPredictor())], ServiceLimits(workers=1))
    try:
        scopes = {route.path: route.scope for route in every_route(service)}
    finally:
        service.close()
    assert scopes["/v1/explain"] == "explain"


def test_a_picture_of_one_colour_is_not_faithful(running):
    status, told = post(running.url, picture("PNG", (200, 20, 20)))
    assert status == 200
    assert told["explanation"]["faithful"] is False
