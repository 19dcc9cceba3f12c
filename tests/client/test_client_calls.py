"""Retries, waits and deadlines, on a clock that a test moves."""

import pytest
from client_support import ANSWER, MODELS, problem

from clearsight.client import errors
from clearsight.client.calls import Answer, Calls, Lost, Send, Wait, Work
from clearsight.client.retries import Backoff, retry_after_s
from clearsight.core.errors import ImageError, UsageError
from clearsight.core.nouns import Prediction
from clearsight.serve.status import IMAGE_STATUSES, STATUSES, UNEXPECTED


def answer(made):
    import json

    body = json.dumps(ANSWER if made is None else made.value).encode()
    headers = {} if made is None else {k.replace("_", "-"): str(v) for k, v in made.headers.items()}
    return Answer(200 if made is None else made.status, headers, body)


OK = answer(None)
BUSY = answer(problem(503, "overloaded", retry_after=2))
BUSY_NO_HINT = answer(problem(503, "overloaded"))


class Played:
    """Drives a call against a list of outcomes; every request takes `seconds`."""

    def __init__(self, outcomes, seconds=0.01, **options):
        self.now, self.outcomes, self.seconds = 100.0, list(outcomes), seconds
        self.sent, self.waits = [], []
        options = {"key": None, "deadline_s": 30.0, "shrink": False, **options}
        backoff = options.pop("backoff", Backoff())
        self.calls = Calls(backoff=backoff, clock=lambda: self.now, draw=lambda: 0.5, **options)

    def recognize(self, pictures=b"x", **options):
        asked = {"model": None, "top": 5, "deadline_s": None, "priority": "normal"}
        return self.run(self.calls.recognize(pictures, **{**asked, "errors": "raise", **options}))

    def run(self, call):
        outcome = None
        while True:
            try:
                step = call.send(outcome)
            except StopIteration as end:
                return end.value
            if isinstance(step, Wait):
                self.waits.append(step.seconds)
                self.now += step.seconds
                outcome = None
            elif isinstance(step, Work):
                outcome = step.function()
            else:
                assert isinstance(step, Send)
                self.sent.append(step)
                self.now += min(self.seconds, step.timeout_s)
                outcome = self.outcomes.pop(0) if self.outcomes else Lost("timeout", "")


def test_an_answer_is_a_prediction():
    found = Played([OK]).recognize()
    assert found == Prediction(("red", "blue"), (0.9, 0.1), True)


def test_not_now_is_asked_again_after_what_the_service_says():
    played = Played([BUSY, BUSY_NO_HINT, OK])
    assert played.recognize().label == "red"
    assert played.waits == [2.05, 0.1]  # 2 + half of 0.1; half of 0.2


@pytest.mark.parametrize("status", [429, 502, 503])
def test_safe_statuses_are_retried(status):
    assert Played([answer(problem(status, "?")), OK]).recognize().label == "red"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 415, 422, 500, 504])
def test_other_statuses_are_not(status):
    played = Played([answer(problem(status, "?")), OK])
    with pytest.raises(errors.RefusedError):
        played.recognize()
    assert len(played.sent) == 1


@pytest.mark.parametrize("kind", ["connect", "broken"])
def test_lost_connections_are_retried(kind):
    assert Played([Lost(kind, "gone"), OK]).recognize().label == "red"


def test_a_time_out_is_not():
    played = Played([Lost("timeout", ""), OK])
    with pytest.raises(errors.DeadlineError):
        played.recognize()
    assert len(played.sent) == 1


def test_attempts_end():
    played = Played([Lost("connect", "gone")] * 9, backoff=Backoff(attempts=3))
    with pytest.raises(errors.UnreachableError, match="gone"):
        played.recognize()
    assert len(played.sent) == 3


def test_the_deadline_is_for_everything_and_is_told_to_the_service():
    played = Played([BUSY_NO_HINT, BUSY_NO_HINT, OK], seconds=0.4)
    assert played.recognize(deadline_s=2.0).label == "red"
    told = [float(step.target.partition("deadline=")[2].partition("&")[0]) for step in played.sent]
    assert told == pytest.approx([2.0, 1.55, 1.05], abs=0.002)
    assert [step.timeout_s for step in played.sent] == pytest.approx(told, abs=0.002)


def test_no_wait_beyond_the_deadline():
    played = Played([BUSY, OK])
    with pytest.raises(errors.OverloadedError) as caught:
        played.recognize(deadline_s=1.0)
    assert played.waits == []
    assert caught.value.retry_after_s == 2.0
    assert caught.value.request_id == "r9"


def test_the_key_and_the_priority_are_sent():
    played = Played([OK], key="secret")
    played.recognize(priority="batch", model="shoes", top=3)
    assert played.sent[0].headers["authorization"] == "Bearer secret"
    assert "priority=batch" in played.sent[0].target
    assert "model=shoes" in played.sent[0].target
    assert "top=3" in played.sent[0].target


@pytest.mark.parametrize(
    ("options", "hint"), [({"priority": "high"}, "batch"), ({"errors": "skip"}, "return")]
)
def test_wrong_words_are_refused_with_the_right_ones(options, hint):
    with pytest.raises(UsageError, match=hint):
        Played([OK]).recognize(**options)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_wrong_deadlines_are_refused(seconds):
    with pytest.raises(UsageError, match="deadline_s"):
        Played([OK]).recognize(deadline_s=seconds)


def test_the_input_size_is_asked_once():
    import json

    models = Answer(200, {}, json.dumps(MODELS).encode())
    played = Played([models, OK, OK], shrink=True)
    played.recognize()
    played.recognize()
    assert [step.target.split("?")[0] for step in played.sent] == [
        "/v1/models",
        "/v1/recognize",
        "/v1/recognize",
    ]


def test_a_refused_question_for_the_size_spoils_nothing():
    played = Played([answer(problem(403, "forbidden")), OK], shrink=True)
    assert played.recognize().label == "red"


def several(*results):
    import json

    shown = [
        {k: ANSWER[k] for k in ("predictions", "accepted")} if r is None else {"error": r.value}
        for r in results
    ]
    return Answer(200, {}, json.dumps({**ANSWER, "results": shown}).encode())


def test_several_pictures_keep_their_order_and_one_bad_one_its_place(tmp_path):
    missing = tmp_path / "none.jpg"
    played = Played([several(None, problem(400, "undecodable-image"))])
    first, second, third = played.recognize([b"a", missing, b"b"], errors="return")
    assert first.label == "red"
    assert isinstance(second, ImageError)
    assert second.reason == "unreadable"
    assert isinstance(third, errors.PictureError)
    assert third.reason == "undecodable"


def test_a_bad_picture_among_several_is_raised_with_its_number():
    played = Played([several(None, problem(415, "image-format"))])
    with pytest.raises(ImageError) as caught:
        played.recognize([b"a", b"b"])
    assert caught.value.reason == "format"
    assert "picture 1 of 2" in caught.value.__notes__[0]


def test_one_bad_picture_alone_is_returned_too():
    played = Played([answer(problem(400, "undecodable-image"))])
    [found] = played.recognize([b"a"], errors="return")
    assert isinstance(found, errors.PictureError)


def test_no_picture_is_no_request():
    played = Played([])
    assert played.recognize([]) == []
    assert played.sent == []


def test_many_pictures_go_in_several_requests():
    played = Played([several(*[None] * 16), several(None, None)])
    assert len(played.recognize([b"a"] * 18)) == 18
    assert len(played.sent) == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"predictions": []}', b"[" * 9999]
)
def test_nonsense_is_no_answer(body):
    with pytest.raises(errors.AnswerError):
        Played([Answer(200, {}, body)]).recognize()


def test_an_error_without_a_problem_is_told_by_its_status():
    with pytest.raises(errors.ForbiddenError, match="HTTP 403"):
        Played([Answer(403, {"x-request-id": "abc"}, b"<html>")]).recognize()


def test_every_problem_of_the_service_has_its_own_error():
    slugs = {item.slug for item in (*STATUSES.values(), *IMAGE_STATUSES.values(), UNEXPECTED)}
    assert slugs - {"client-left"} <= set(errors.PROBLEMS)
    for kind, status in STATUSES.items():
        if status.slug != "client-left":
            assert errors.PROBLEMS[status.slug].__name__ == kind.__name__
    for reason, status in IMAGE_STATUSES.items():
        error = errors.refusal(status.http, status.slug, "d", "i", None)
        assert isinstance(error, ImageError)
        assert error.reason == reason


def test_an_unknown_problem_is_seen():
    assert "planted-problem" not in errors.PROBLEMS
    assert type(errors.refusal(418, "planted-problem", "d", "i", None)) is errors.RefusedError


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("7", 7.0), ("", None), ("-1", None), ("1e9", None), ("9" * 40, None)],
)
def test_retry_after(text, expected):
    assert retry_after_s(text) == expected


def test_waits_grow_and_end():
    waits = [Backoff(most_s=1.0).wait_s(attempt, None, 1.0) for attempt in range(1, 8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
