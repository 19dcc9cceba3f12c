"""Corrections: kept within bounds, exported as a data set that training reads."""

import base64
import json
import os
import stat
import urllib.error
import urllib.request

import pytest

from clearsight.core.errors import DataError, ImageError, StorageError
from clearsight.core.nouns import Prediction
from clearsight.data.dataset import read_dataset
from clearsight.serve.calls import Observation
from clearsight.serve.errors import ImpossibleRequestError, QuotaError
from clearsight.serve.operations.export import export
from clearsight.serve.operations.feedback import Feedback, RecentAnswers, clear, corrections
from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

RED, BLUE = picture("PNG", (200, 20, 20)), picture("JPEG", (20, 20, 200))
ROOM = 1_000_000


def test_a_correction_is_kept_with_its_picture(tmp_path):
    Feedback(tmp_path, ROOM).add("  rot ", RED, request="r1", key="k1")
    [found] = corrections(tmp_path)
    assert (found.label, found.request, found.key) == ("rot", "r1", "k1")
    files = [file for file in (tmp_path / "feedback").rglob("*") if file.is_file()]
    assert [file.read_bytes() for file in files if file.suffix == ".png"] == [RED]
    folder = (tmp_path / "feedback").stat()
    assert stat.S_IMODE(folder.st_mode) == 0o700


@pytest.mark.parametrize("label", ["", "   ", "x" * 201, "a\nb", "a\x00b", "\u202eabc"])
def test_a_label_that_cannot_be_one_is_refused(tmp_path, label):
    with pytest.raises(ImpossibleRequestError, match="label"):
        Feedback(tmp_path, ROOM).add(label, RED)
    assert list(corrections(tmp_path)) == []


@pytest.mark.parametrize("content", [b"", b"no picture", RED[:20]])
def test_what_is_no_picture_is_refused(tmp_path, content):
    with pytest.raises(ImageError):
        Feedback(tmp_path, ROOM).add("x", content)
    assert list(corrections(tmp_path)) == []


def test_the_quota_holds_also_after_a_restart(tmp_path):
    room = len(RED) + 600
    Feedback(tmp_path, room).add("a", RED)
    again = Feedback(tmp_path, room)
    assert again.used_bytes > len(RED)
    again.add("a", RED)  # the same picture takes no room again
    with pytest.raises(QuotaError) as refused:
        again.add("b", BLUE)
    assert refused.value.retry_after_s > 0
    assert len(list(corrections(tmp_path))) == 2
    with pytest.raises(QuotaError):
        Feedback(tmp_path / "other", 0).add("a")


def test_a_write_that_fails_leaves_nothing_half(tmp_path, monkeypatch):
    feedback = Feedback(tmp_path, ROOM)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="no space"):
            feedback.add("a", RED)
    assert list(corrections(tmp_path)) == []
    feedback.add("a", RED)
    assert len(list(corrections(tmp_path))) == 1


def test_corrections_become_a_data_set_that_training_reads(tmp_path):
    feedback = Feedback(tmp_path / "store", ROOM)
    answers = RecentAnswers()
    prediction = Prediction(("blue",), (0.8,))
    answers.observe(Observation("r1", "m", "1", "", prediction, None, 0, 0, 0, 1))
    feedback.add("wrong", RED)
    feedback.add("red", RED, request="r1", answer=answers.find("r1", ""))
    feedback.add("blue, 蓝", BLUE)
    feedback.add("green", request="r2")
    done = export(tmp_path / "store", tmp_path / "data")
    assert (done.found, done.exported, done.without_picture, done.replaced) == (4, 2, 1, 1)
    assert done.labels == {"blue, 蓝": 1, "red": 1}
    dataset = read_dataset(tmp_path / "data" / "manifest.csv")
    assert sorted(dataset.classes) == ["blue, 蓝", "red"]
    assert dataset.found == 2
    assert not dataset.quarantined
    only = export(tmp_path / "store", tmp_path / "of-m", model="m")
    assert (only.exported, only.others) == (1, 3)


def test_an_export_of_nothing_says_why(tmp_path):
    with pytest.raises(DataError, match="0 corrections"):
        export(tmp_path / "store", tmp_path / "data")
    Feedback(tmp_path / "store", ROOM).add("x", request="r")
    with pytest.raises(DataError, match="1 without a picture"):
        export(tmp_path / "store", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_old_corrections_are_cleared_with_their_pictures(tmp_path):
    feedback = Feedback(tmp_path, ROOM)
    feedback.add("a", RED)
    [old] = corrections(tmp_path)
    feedback.add("b", BLUE)
    assert clear(tmp_path, older_than=old.time) == 0
    assert clear(tmp_path, older_than=old.time + 1e6) == 2
    assert [file for file in (tmp_path / "feedback").rglob("*") if file.is_file()] == []


def test_recent_answers_belong_to_their_caller_and_are_bounded():
    answers = RecentAnswers(most=2)
    for name in ("a", "b", "c"):
        prediction = Prediction((name,), (0.9,))
        answers.observe(Observation(name, "m", "1", "key1", prediction, None, 0, 0, 0, 1))
    assert answers.find("a", "key1") is None
    assert answers.find("c", "key1").label == "c"
    assert answers.find("c", "key2") is None
    again = Prediction(("x",), (0.9,))
    answers.observe(Observation("c", "m", "1", "key1", again, None, 0, 0, 0, 1))
    assert answers.find("c", "key1") is None, "of several pictures it is not known which"


def send(url, value, kind="application/json"):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    request = urllib.request.Request(f"{url}/v1/feedback", body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def with_store(colours, tmp_path_factory):
    store = tmp_path_factory.mktemp("state") / "store"
    with running_service([colours], store=store, feedback_bytes=20_000) as service:
        yield service, store


def test_a_client_corrects_an_answer(with_store):
    service, store = with_store
    request = urllib.request.Request(f"{service.url}/v1/recognize", RED)
    with urllib.request.urlopen(request, timeout=20) as answer:
        told = json.load(answer)
    image = base64.b64encode(RED).decode()
    status, kept = send(service.url, {"label": "rot", "request": told["id"], "image": image})
    assert status == 200
    assert (kept["label"], kept["picture"]) == ("rot", True)
    assert "red" not in json.dumps(kept), "an answer is not told to whoever guesses its id"
    [one] = corrections(store)
    assert one.predicted == told["predictions"][0]["label"] == "red"
    assert (one.model, one.version) == ("colours", told["version"])
    with urllib.request.urlopen(f"{service.url}/metrics", timeout=20) as answer:
        assert b'clearsight_corrections_total{model="colours",right="no"} 1.0' in answer.read()


@pytest.mark.parametrize(
    ("value", "status", "word"),
    [
        ({"label": "x"}, 422, "request"),
        ({"request": "x"}, 400, "label"),
        ({"label": 3, "request": "x"}, 400, "text"),
        ({"label": "x", "image": "?"}, 400, "base64"),
        ({"label": "x", "image": "AAAA"}, 415, "format"),
        ({"label": "x", "image": ""}, 400, "empty"),
        ({"label": "x", "reqest": "y"}, 400, "request"),
        ([], 400, "object"),
        (b"{", 400, "JSON"),
        (b"[" * 100_000, 400, "JSON"),
        ({"label": "x", "image": base64.b64encode(RED + bytes(30_000)).decode()}, 429, "room"),
    ],
)
def test_a_bad_correction_is_refused(with_store, value, status, word):
    service, store = with_store
    before = len(list(corrections(store)))
    got, problem = send(service.url, value)
    assert got == status, problem
    assert word.lower() in json.dumps(problem).lower()
    assert len(list(corrections(store))) == before


def test_another_content_type_is_refused(with_store):
    assert send(with_store[0].url, b"label=x", "text/plain")[0] == 415


def test_without_a_store_nothing_is_taken(running):
    assert send(running.url, {"label": "x", "request": "y"})[0] == 404
