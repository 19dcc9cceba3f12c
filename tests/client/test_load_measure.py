"""The load generator against services that stall, refuse, break off, or change their version."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from client_support import ANSWER, Made, colour, encode, jpeg, problem

from clearsight.cli.main import main
from clearsight.client.load.lines import Reply
from clearsight.client.load.measure import measure, measure_lines, only_model
from clearsight.client.load.plan import LoadPlan, read_pictures
from clearsight.client.load.report import check_suffix, render, write_result
from clearsight.client.load.requests import (
    Ask,
    grpc_messages,
    grpc_version,
    http_request,
    oip_rest_requests,
    rest_requests,
)
from clearsight.core.errors import ConfigError, DataError, UsageError

PICTURE = b"\xff\xd8\xffpicture"


def plan(**options):
    return LoadPlan.parse({"time_s": 0.5, "warm_up_s": 0.1, **options})


def load(service, **options):
    return measure(service.url, [PICTURE], plan(**options))


class Pretended:
    """A service in this process that answers after `seconds`, and stalls once."""

    closing = False

    def __init__(self, seconds=0.001, stall_at=None, stall_s=1.0):
        self.seconds, self.stall_at, self.stall_s = seconds, stall_at, stall_s
        self.free = 0.0
        self.open = self.most_open = 0

    async def connect(self):
        return self

    def close(self):
        pass

    async def ask(self, number):
        now = time.perf_counter()
        if self.stall_at is not None and now >= self.stall_at:
            self.free, self.stall_at = now + self.stall_s, None
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(max(0.0, self.free - now) + self.seconds)
        self.open -= 1
        return Reply("200", False, ("v1",))


def pretend(service, **options):
    return measure_lines(service.connect, plan(**options), {"url": "", "protocol": "x"}, None, [])


def test_a_stall_shows_in_the_open_loop_and_hides_from_the_naive_one():
    """Once a second in three the service does nothing: every request due meanwhile waits."""
    stall_at = time.perf_counter() + 0.8
    opened = pretend(Pretended(stall_at=stall_at), rate=300, time_s=3).to_json()
    assert opened["latency_ms"]["p99"] > 500
    assert opened["latency_ms"]["p90"] > 300
    naive = pretend(Pretended(stall_at=time.perf_counter() + 0.8), clients=1, time_s=3).to_json()
    assert naive["latency_ms"]["p99"] < 500, "the naive figure sees the stall: the control fails"
    assert naive["latency_ms"]["max"] > 900
    assert naive["corrected_ms"]["p90"] > 300


def test_latency_counts_from_the_moment_a_request_was_due():
    """A generator that itself is late for half a second sends late: 'from send' does not see it."""
    service = Pretended()

    async def connect():
        if service.stall_at is not None and time.perf_counter() > service.stall_at:
            service.stall_at = None
            time.sleep(0.5)
        return service

    service.stall_at = time.perf_counter() + 0.5
    service.closing = True  # every request connects anew
    found = measure_lines(
        connect, plan(rate=300, time_s=2), {"url": "", "protocol": "x"}, None, []
    ).to_json()
    assert found["latency_ms"]["p95"] > 100
    assert found["from_send_ms"]["p95"] < 100
    assert found["generator"]["lag_ms"]["max"] > 400


def test_a_closed_loop_has_as_many_open_as_clients():
    service = Pretended(seconds=0.02)
    found = pretend(service, clients=7).to_json()
    assert service.most_open == 7
    assert found["loop"] == "closed"
    assert found["clients"] == 7
    assert "corrected_ms" in found
    assert "from_send_ms" not in found


def test_an_open_loop_sends_at_its_rate_whatever_comes_back():
    service = Pretended(seconds=0.3)
    found = pretend(service, rate=200, time_s=1).to_json()
    assert 150 < found["sent"] < 250
    assert found["answered"] == found["sent"]
    assert service.most_open > 30
    assert "corrected_ms" not in found


def test_arrivals_are_poisson_and_the_same_for_the_same_seed():
    counts = [pretend(Pretended(), rate=400, time_s=0.5, seed=s).to_json()["sent"] for s in (1, 1)]
    assert abs(counts[0] - counts[1]) <= 5


def test_what_cannot_be_opened_is_counted_as_not_sent():
    found = pretend(Pretended(seconds=0.4), rate=300, time_s=0.5, most_open=5).to_json()
    assert found["unsent"] > 50
    assert found["answered"] <= 15


def test_late_answers_are_no_good_answers():
    found = pretend(Pretended(seconds=0.1), clients=2, deadline_s=0.05).to_json()
    assert found["late"] == found["answered"] > 0
    assert found["answers_per_s"] == 0
    assert found["replies_per_s"] > 0


def test_warm_up_is_not_counted():
    found = pretend(Pretended(seconds=0.01), clients=1, warm_up_s=0.5, time_s=0.3).to_json()
    assert found["sent"] < 35
    assert found["seconds"] == 0.3


def test_a_hundred_tasks_that_never_end_are_given_up(monkeypatch):
    monkeypatch.setattr("clearsight.client.load.plan.GRACE_S", 0.1)
    found = pretend(Pretended(seconds=60), rate=200, time_s=0.3, deadline_s=0.1).to_json()
    assert found["answered"] == 0
    assert found["lost"] == found["sent"] + found["unsent"] > 20


def test_rest_over_the_wire(scripted):
    found = load(scripted, clients=3).to_json()
    assert found["answered"] > 20
    assert found["lost"] == 0
    assert found["versions"] == {"v1": found["answered"]}
    assert found["answers_naming_several_versions"] == 0
    assert scripted.connections == 3
    assert scripted.asked[0].body == PICTURE
    assert scripted.asked[0].target == "/v1/recognize?top=5"
    own = found["generator"]
    assert 0 < own["cpu_ms_per_reply"] < 20
    assert found["timeline"]


def test_refusals_are_counted_by_status_with_their_hint(scripted):
    def answer(number, asked):
        if number % 4 == 0:
            return problem(503, "overloaded", retry_after=1)
        return problem(429, "quota") if number % 4 == 1 else Made()

    scripted.answer = answer
    found = load(scripted, clients=2).to_json()
    assert set(found["statuses"]) == {"200", "503", "429"}
    assert found["refused"] == found["statuses"]["503"] + found["statuses"]["429"]
    assert found["refused_with_retry_after"] == found["statuses"]["503"]
    assert found["refusal_ms"]["p99"] > 0
    assert found["answered"] == found["latency_ms"]["n"] == found["statuses"]["200"]


def test_versions_that_change_and_answers_that_mix_them(scripted):
    mixed = {**ANSWER, "results": [{"version": "v2"}]}

    def answer(number, asked):
        if number % 10 == 0:
            return Made(value=mixed)
        return Made(value={**ANSWER, "version": f"v{number % 2}"})

    scripted.answer = answer
    found = load(scripted, clients=2).to_json()
    assert {"v0", "v1", "v2"} <= set(found["versions"])
    assert found["answers_naming_several_versions"] > 0


def test_a_label_that_looks_like_a_version_is_none(scripted):
    label = {"label": '"version": "v9"', "score": 1.0}
    scripted.answer = lambda number, asked: Made(value={**ANSWER, "predictions": [label]})
    assert list(load(scripted, clients=1).to_json()["versions"]) == ["v1"]


def test_broken_connections_are_counted_and_made_again(scripted):
    scripted.answer = lambda number, asked: Made(break_off=number % 5 == 0)
    found = load(scripted, clients=2, time_s=1).to_json()
    assert found["errors"]["the connection broke"] > 0
    assert found["answered"] > 5


def test_nobody_there():
    found = measure("http://127.0.0.1:9", [PICTURE], plan(clients=2)).to_json()
    assert found["answered"] == 0
    assert found["lost"] > 0
    assert "no connection" in next(iter(found["errors"]))


def test_nonsense_in_place_of_http(scripted, monkeypatch):
    scripted.answer = lambda number, asked: Made(status="abc")
    found = load(scripted, clients=1).to_json()
    assert found["answered"] == 0
    assert any("no HTTP answer" in why for why in found["errors"])


def test_the_key_the_deadline_and_the_priority_are_sent(scripted):
    ask = Ask("shoes", 3, 0.25, "batch", "secret")
    measure(scripted.url, [PICTURE], plan(clients=1, time_s=0.1), ask=ask)
    asked = scripted.asked[0]
    assert asked.headers["authorization"] == "Bearer secret"
    for part in ("model=shoes", "top=3", "deadline=0.250", "priority=batch"):
        assert part in asked.target


def test_the_key_does_not_cross_a_network_in_clear():
    with pytest.raises(UsageError, match="unencrypted"):
        measure("http://recognizer.example", [PICTURE], plan(), ask=Ask(key="secret"))


def test_oip_rest_carries_the_picture_as_a_binary_tensor():
    [request] = oip_rest_requests("http://a:1/base", [PICTURE], Ask("m", 2, 0.5, "batch"))
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /base/v2/models/m/infer HTTP/1.1\r\nHost: a:1\r\n")
    length = int(head.lower().split(b"inference-header-content-length: ")[1].split(b"\r\n")[0])
    value = json.loads(body[:length])
    tensor = body[length:]
    assert tensor == len(PICTURE).to_bytes(4, "little") + PICTURE
    assert value["inputs"][0]["parameters"]["binary_data_size"] == len(tensor)
    assert value["parameters"]["timeout"] == 500_000
    assert value["parameters"]["priority"] == 2


def test_rest_requests_say_nothing_that_was_not_asked():
    [request] = rest_requests("http://a:1", [PICTURE], Ask())
    assert request == http_request(
        "http://a:1",
        "/v1/recognize?top=5",
        {"Content-Type": "application/octet-stream"},
        PICTURE,
    )


def test_grpc_messages_are_what_protobuf_makes():
    """Against the descriptors of the protocol, built here with protobuf."""
    pb = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    file = pb.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    kinds = {"string": 9, "int64": 3, "bytes": 12, "message": 11}

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, field, kind, repeated in fields:
            item = made.field.add(name=field, number=number, label=3 if repeated else 1)
            item.type = kinds.get(kind, 11)
            if kind not in kinds:
                item.type_name = f".t.{kind}"

    message("Value", (2, "int64_param", "int64", False))
    message("Entry", (1, "key", "string", False), (2, "value", "Value", False))
    message(
        "Tensor",
        (1, "name", "string", False),
        (2, "datatype", "string", False),
        (3, "shape", "int64", True),
    )
    message(
        "Request",
        (1, "model_name", "string", False),
        (4, "parameters", "Entry", True),
        (5, "inputs", "Tensor", True),
        (7, "raw_input_contents", "bytes", True),
    )
    message("Response", (1, "model_name", "string", False), (2, "model_version", "string", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kinds = {
        n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{n}"))
        for n in ("Request", "Response")
    }
    [encoded] = grpc_messages([PICTURE * 99], Ask("m", 7, 0.3, "batch"))
    read = kinds["Request"].FromString(encoded)
    assert read.model_name == "m"
    assert {entry.key: entry.value.int64_param for entry in read.parameters} == {
        "top": 7,
        "timeout": 300_000,
        "priority": 2,
    }
    assert (read.inputs[0].name, read.inputs[0].datatype, list(read.inputs[0].shape)) == (
        "image",
        "BYTES",
        [1],
    )
    picture = PICTURE * 99
    assert read.raw_input_contents[0] == len(picture).to_bytes(4, "little") + picture
    response = kinds["Response"](model_name="m", model_version="v1·é").SerializeToString()
    assert grpc_version(response) == "v1·é"


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_cut_grpc_answer_is_no_crash(cut):
    assert grpc_version(b"\x0a\x01m\x12\x02v1\xff\xff\xff"[:cut]) in ("", "v", "v1")


def test_the_only_model(scripted):
    assert only_model(scripted.url, Ask()) == "m"
    scripted.answer = lambda number, asked: problem(401, "unauthorized")
    with pytest.raises(UsageError, match="--model"):
        only_model(scripted.url, Ask())


def test_plans_that_cannot_be():
    with pytest.raises(ConfigError, match="either clients"):
        LoadPlan.parse({"clients": 3, "rate": 5.0})
    with pytest.raises(ConfigError, match="rat"):
        LoadPlan.parse({"rat": 5.0})
    with pytest.raises(UsageError, match="oip-rest"):
        measure("http://127.0.0.1:9", [PICTURE], plan(), protocol="oip-res")


def test_pictures_from_files_and_folders(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(colour("red")))
    (folder / "b.png").write_bytes(encode(colour("red"), "PNG"))
    (folder / "notes.txt").write_text("no picture")
    assert len(read_pictures([folder])) == 2
    assert len(read_pictures([folder, folder / "a.jpg"])) == 3
    with pytest.raises(DataError, match=r"notes\.txt"):
        read_pictures([folder / "notes.txt"])
    with pytest.raises(DataError, match="cannot be read"):
        read_pictures([tmp_path / "none.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no picture"):
        read_pictures([tmp_path / "empty"])


def test_the_report_holds_the_figures_and_nothing_that_runs(scripted, tmp_path):
    scripted.answer = lambda number, asked: Made(
        value={**ANSWER, "version": "</pre><script>alert(1)</script>"}
    )
    result = load(scripted, clients=2)
    page = render(result)
    assert "<script" not in page
    assert "corrected" in page
    assert 'class="two"' in page
    write_result(tmp_path / "r.html", result)
    write_result(tmp_path / "r.json", result)
    assert json.loads((tmp_path / "r.json").read_text())["answered"] == result.record.answered.count
    with pytest.raises(UsageError, match="html"):
        check_suffix(tmp_path / "r.txt")


def bench(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "clearsight", "bench-serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        **options,
    )


def test_the_command(running, tmp_path):
    picture = tmp_path / "red.jpg"
    picture.write_bytes(jpeg(colour("red")))
    report = tmp_path / "load.html"
    process = bench(
        running.url, "--images", picture, "--clients", 2, "--time", "1s", "--warm-up", "0",
        "--deadline", "500ms", "--json", "--out", report,
    )  # fmt: skip
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    value = json.loads(said)
    assert value["answered"] > 10
    assert value["lost"] == 0
    assert value["deadline_s"] == 0.5
    assert list(value["statuses"]) == ["200"]
    assert "<svg" in report.read_text()


def test_ctrl_c_gives_what_was_measured(scripted, tmp_path):
    picture = tmp_path / "red.jpg"
    picture.write_bytes(jpeg(colour("red")))
    process = bench(
        scripted.url, "--images", picture, "--rate", 100, "--time", "60s", "--warm-up", "0",
        "--json",
    )  # fmt: skip
    while len(scripted.asked) < 100:
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()
    threading.Timer(0.1, process.send_signal, (signal.SIGINT,)).start()
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    value = json.loads(said)
    assert value["interrupted"]
    assert 0 < value["seconds"] < 30
    assert value["answered"] > 50


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (["--clients", "2", "--rate", "3"], "either clients"),
        (["--protocol", "grpc"], "oip-grpc"),
        (["--protocol", "oip-grpc"], "--model"),
        (["--priority", "high"], "normal"),
        (["--out", "x.txt"], ".html"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(tmp_path, monkeypatch, capsys, wrong, hint):
    picture = tmp_path / "red.jpg"
    picture.write_bytes(jpeg(colour("red")))
    arguments = ["bench-serve", "http://127.0.0.1:9", "--images", str(picture), *wrong]
    monkeypatch.setattr(sys, "argv", ["clearsight", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["rest", "oip-rest", "oip-grpc"])
def test_every_protocol_of_the_service(speaking, protocol):
    """The same picture over each: all answered, and the version is seen."""
    url = f"http://{speaking.grpc}" if protocol == "oip-grpc" else speaking.url
    ask = Ask("colours", 2, 5.0, "batch")
    found = measure(url, [jpeg(colour("red"))], plan(clients=2), protocol, ask).to_json()
    assert found["answered"] == found["sent"] > 3, found["errors"] or found["statuses"]
    assert list(found["versions"].values()) == [found["answered"]]


@pytest.mark.parametrize("protocol", ["rest", "oip-rest", "oip-grpc"])
def test_refused_pictures_are_no_answers(speaking, protocol):
    url = f"http://{speaking.grpc}" if protocol == "oip-grpc" else speaking.url
    found = measure(url, [b"no picture"], plan(clients=1), protocol, Ask("colours")).to_json()
    assert found["answered"] == 0
    assert sum(found["statuses"].values()) == found["sent"] > 3
    assert found["lost"] == found["refused"] == 0


def test_nobody_there_over_grpc():
    found = measure("http://127.0.0.1:9", [PICTURE], plan(), "oip-grpc", Ask("m")).to_json()
    assert found["answered"] == 0
    assert found["lost"] > 0
