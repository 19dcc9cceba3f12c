"""Pictures that come again: answered without the model, and only to whoever asked before."""

import base64
import hashlib

import pytest

from clearsight.serve.access.caller import Caller
from clearsight.serve.calls import Call
from clearsight.serve.remembered import announced_digest
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.testing.protocol_contract import WatchedPredictor, picture

ANN, BOB = (Caller(name, "", frozenset({"recognize"})) for name in ("ann", "bob"))


@pytest.fixture
def watched():
    return WatchedPredictor()


@pytest.fixture
def make(watched):
    services = []

    def make_service(remember=2):
        limits = ServiceLimits(workers=1, remember=remember)
        services.append(Service([Model("watched", "1", watched)], limits))
        return services[-1]

    yield make_service
    for service in services:
        service.close()


def shade(red):
    return picture("PNG", (red, 20, 30))


def test_the_same_picture_is_not_run_twice(make, watched):
    service = make()
    first = service.recognize(Call([shade(200)], caller=ANN))
    assert service.recognize(Call([shade(200)], caller=ANN)) == first
    assert watched.calls == 1


def test_it_is_off_by_default(make, watched):
    service = make(remember=0)
    for _ in range(2):
        service.recognize(Call([shade(200)]))
    assert watched.calls == 2
    assert ServiceLimits().remember == 0


@pytest.mark.parametrize("other", [{"caller": BOB}, {"top": 2}])
def test_another_question_is_another_answer(make, watched, other):
    service = make()
    service.recognize(Call([shade(200)], **{"caller": ANN, "top": 3}))
    service.recognize(Call([shade(200)], **{"caller": ANN, "top": 3, **other}))
    assert watched.calls == 2


def test_only_so_many_are_kept(make, watched):
    service = make(remember=2)
    for red in (10, 20, 30, 10):
        service.recognize(Call([shade(red)], caller=ANN))
    assert watched.calls == 4


def test_a_failure_is_not_remembered(make, watched):
    service = make()
    watched.error = ValueError("once")
    with pytest.raises(Exception, match="failed"):
        service.recognize(Call([shade(200)]))
    watched.error = None
    assert service.recognize(Call([shade(200)]))[0].labels


def test_known_and_new_pictures_of_one_call_keep_their_order(make, watched):
    service = make(remember=10)
    service.recognize(Call([shade(200)]))
    got = service.recognize(Call([picture("PNG", (10, 220, 10)), shade(200)]))
    assert [each.label for each in got] == ["green", "red"]
    assert watched.calls == 2


def test_an_announced_digest_is_answered_without_a_picture(make, watched):
    service = make()
    digest = hashlib.sha256(shade(200)).digest()
    assert service.remembered(Call([], caller=ANN), digest) is None
    told = service.recognize(Call([shade(200)], caller=ANN))[0]
    assert service.remembered(Call([], caller=ANN), digest)[1] == told
    assert service.remembered(Call([], caller=BOB), digest) is None, "told to another key"


@pytest.mark.parametrize("header", ["", "md5=:AAAA:", "sha-256=:short:", "sha-256=" + "A" * 44])
def test_other_headers_are_no_digest(header):
    assert announced_digest(header) is None


def test_a_digest_among_others_is_found():
    digest = hashlib.sha256(b"x").digest()
    header = f"md5=:AAAA:, sha-256=:{base64.b64encode(digest).decode()}:"
    assert announced_digest(header) == digest
