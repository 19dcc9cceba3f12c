import threading
import time

import pytest

from clearsight.core.errors import ImageError
from clearsight.serve.access.caller import ANONYMOUS
from clearsight.serve.calls import Call
from clearsight.serve.errors import (
    ExpiredError,
    ImpossibleRequestError,
    ModelFailedError,
    NotReadyError,
    OverloadedError,
    StartError,
    UnknownModelError,
)
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.testing.protocol_contract import WatchedPredictor, picture


@pytest.fixture
def watched():
    return WatchedPredictor()


@pytest.fixture
def make(watched):
    services = []

    def make_service(**limits):
        limits = ServiceLimits(**{"workers": 1, "queue": 3, **limits})
        services.append(Service([Model("watched", "7", watched)], limits))
        return services[-1]

    yield make_service
    watched.go.set()
    for service in services:
        service.close()


def ask(service, encoded=None, **told):
    return service.submit(Call([encoded or picture("PNG")], **told)).futures[0]


def hold(service, watched):
    watched.go.clear()
    future = ask(service)
    assert watched.started.wait(5)
    return future


def test_prediction_is_the_predictors_own(make, watched):
    service = make()
    got = ask(service, picture("JPEG"), model="watched", top=2).result(5)
    assert got == watched.recognize(picture("JPEG"), 2)
    assert got.label == "red"
    assert len(got.labels) == 2


def test_every_answer_belongs_to_its_own_picture(make):
    service = make(workers=4, queue=500)
    colours = {"red": (220, 10, 10), "green": (10, 220, 10), "blue": (10, 10, 220)}
    asked = list(colours) * 100
    futures = [ask(service, picture("PNG", colours[name]), top=1) for name in asked]
    assert [future.result(20).label for future in futures] == asked


def test_full_queue_refuses_and_says_when_to_come_back(make, watched):
    service = make(queue=2)
    ask(service).result(5)  # now run times are known
    watched.started.clear()
    hold(service, watched)
    waiting = service.submit(Call([picture("PNG")] * 2)).futures
    with pytest.raises(OverloadedError) as refused:
        ask(service)
    assert refused.value.retry_after_s > 0
    watched.go.set()
    assert all(future.result(5).label == "red" for future in waiting)
    assert ask(service).result(5).label == "red"


def test_a_request_of_several_is_admitted_whole_or_not_at_all(make, watched):
    service = make(queue=3)
    hold(service, watched)
    service.submit(Call([picture("PNG")] * 2))
    with pytest.raises(OverloadedError):
        service.submit(Call([picture("PNG")] * 2))
    assert service.queue.waiting() == 2


def test_refused_when_the_wait_would_pass_the_deadline(make, watched):
    service = make(queue=50)
    hold(service, watched)
    service.models.resolve(None, None, ANONYMOUS).run_s = 8.0  # runs have been slow
    ask(service, deadline_s=50)
    with pytest.raises(OverloadedError, match="deadline"):
        ask(service, deadline_s=5)
    ask(service, deadline_s=50)


def test_expired_and_cancelled_never_reach_the_model(make, watched):
    service = make()
    first = hold(service, watched)
    late = ask(service, deadline_s=0.05)
    given_up = ask(service)
    assert given_up.cancel()
    assert service.queue.waiting() == 1, "a cancelled request keeps its place in the queue"
    time.sleep(0.1)
    watched.go.set()
    with pytest.raises(ExpiredError):
        late.result(5)
    first.result(5)
    assert watched.calls == 1


def test_workers_survive_a_failing_model(make, watched):
    service = make()
    watched.error = MemoryError("inside")
    with pytest.raises(ModelFailedError) as failed:
        ask(service).result(5)
    assert "inside" not in str(failed.value)
    watched.error = None
    assert ask(service).result(5).label == "red"


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.5, 1.5])
def test_scores_that_are_no_probabilities_are_an_error(make, watched, score):
    service = make()
    watched.broken_score = score
    with pytest.raises(ModelFailedError):
        ask(service).result(5)


def test_pixels_are_refused_from_the_header(make, watched):
    service = make(pixels=100)
    with pytest.raises(ImageError) as refused:
        ask(service).result(5)
    assert refused.value.reason == "pixels"
    assert watched.calls == 0


@pytest.mark.parametrize(("pictures", "top"), [([], 5), ([b"x"] * 33, 5), ([b"x"], 0)])
def test_impossible_requests(make, pictures, top):
    service = make()
    with pytest.raises(ImpossibleRequestError):
        service.submit(Call(pictures, top=top))


def test_models_are_named_and_never_guessed(watched):
    service = Service([Model("cats", "1", watched), Model("dogs", "1", watched)])
    try:
        with pytest.raises(ImpossibleRequestError, match="cats, dogs"):
            service.submit(Call([picture("PNG")]))
        with pytest.raises(UnknownModelError, match="Did you mean 'cats'"):
            service.submit(Call([picture("PNG")], model="cast"))
        assert service.submit(Call([picture("PNG")], model="dogs")).model.name == "dogs"
    finally:
        service.close()


@pytest.mark.parametrize("names", [[], ["a", "a"], ["Upper"], ["../x"], ["x" * 65], [""]])
def test_names_that_cannot_be_served(watched, names):
    with pytest.raises(StartError):
        Service([Model(name, "1", watched) for name in names])


def test_close_finishes_what_is_queued_and_takes_no_more(make, watched):
    service = make()
    hold(service, watched)
    waiting = ask(service)
    closing = threading.Thread(target=service.close)
    closing.start()
    time.sleep(0.05)
    with pytest.raises(NotReadyError):
        ask(service)
    watched.go.set()
    closing.join(5)
    assert waiting.result(0).label == "red"
    assert not closing.is_alive()
