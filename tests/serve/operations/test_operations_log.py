"""The log: one line a request, nothing secret in it, and never in anybody's way (CHECKS 46)."""

import base64
import binascii
import contextlib
import json
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from clearsight.core.errors import ConfigError
from clearsight.serve import log
from clearsight.serve.log import LEVELS, Log
from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

RED = picture("PNG", (200, 20, 20))
FIELDS = {
    "time", "level", "event", "id", "method", "route", "model", "version", "status", "ms", "key",
}  # fmt: skip


def to_file(path):
    """Return statements that send a process's stderr into a file."""
    return f"import os; os.dup2(os.open({str(path)!r}, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)"


def send(url, path, body=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url + path, body, named)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@contextlib.contextmanager
def logging_service(colours, tmp_path, **options):
    file = tmp_path / "log"
    environment = {"CLEARSIGHT_LOG": "info"}
    with running_service(
        [colours], before=to_file(file), environment=environment, linger_s=0, **options
    ) as service:
        yield service, file


def test_every_request_is_one_line(colours, tmp_path):
    with logging_service(colours, tmp_path) as (service, file):
        send(service.url, "/v1/recognize", RED, X_Request_Id="first")
        send(service.url, "/v1/recognize", b"junk", X_Request_Id="second")
        send(service.url, "/v1/models/colours/drift", X_Request_Id="third")
        send(service.url, "/no/such/address", X_Request_Id="fourth")
        service.terminate()
        service.process.wait(30)
    lines = {line["id"]: line for line in map(json.loads, file.read_text().splitlines())}
    assert set(lines) == {"first", "second", "third", "fourth"}
    assert all(set(line) == FIELDS for line in lines.values())
    first = lines["first"]
    assert (first["route"], first["model"], first["status"]) == ("/v1/recognize", "colours", 200)
    assert first["ms"] > 0
    assert first["version"]
    assert lines["second"]["status"] == 415
    assert lines["third"]["route"] == "/v1/models/{name}/drift", "the pattern, not the address"
    assert lines["fourth"]["route"] == "other"


def test_nothing_is_written_unless_asked_for(colours, tmp_path):
    file = tmp_path / "log"
    with running_service([colours], before=to_file(file), linger_s=0) as service:
        send(service.url, "/v1/recognize", RED)
        service.terminate()
        service.process.wait(30)
    assert file.read_text() == ""


def test_an_unknown_level_is_refused(monkeypatch):
    monkeypatch.setattr(log, "LOG", Log())
    monkeypatch.setenv("CLEARSIGHT_LOG", "infos")
    with pytest.raises(ConfigError, match="Did you mean 'info'"):
        log.set_level(None)
    log.set_level("error")
    assert log.LOG.level == "error"
    assert [log.LOG.wants(level) for level in LEVELS] == [False, False, True, True]


class Stuck:
    """A terminal that stands still."""

    def __init__(self):
        self.go_on = threading.Event()
        self.text = ""

    def write(self, text):
        self.go_on.wait(30)
        self.text += text

    def flush(self):
        pass


def test_a_reader_that_stands_still_holds_nothing_up(monkeypatch):
    monkeypatch.setattr(log, "MOST_WAITING", 100)
    stuck = Stuck()
    monkeypatch.setattr(sys, "stderr", stuck)
    made = Log("info")
    for number in range(500):
        made.write("info", "x", number=number)
    assert made.dropped >= 300
    stuck.go_on.set()
    made.flush(10)
    assert stuck.text.count("\n") == 500 - made.dropped


def test_a_closed_stderr_is_survived(monkeypatch):
    class Closed:
        def write(self, text):
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(sys, "stderr", Closed())
    made = Log("info")
    made.write("info", "x")
    made.flush(5)
    assert made.dropped == 1


# --- CHECK 46 ---------------------------------------------------------------------------------


def forms(secret):
    """Return every way in which a secret could be written."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    text = raw.decode("latin-1")
    encoded = {base64.b64encode(raw[i:]).rstrip(b"=")[2:-2] for i in range(3)}
    escaped = json.dumps(text)[1:-1].encode()
    quoted = urllib.parse.quote(text).encode()
    return {raw, binascii.hexlify(raw), repr(raw)[2:-1].encode(), escaped, quoted, *encoded}


def hits(secrets_, found):
    """Return which secrets stand in which of the found texts."""
    return [
        (name, where)
        for name, secret in secrets_.items()
        for where, content in found.items()
        if any(form in content for form in forms(secret))
    ]


def bmp(pixels):
    """Return a picture whose pixels are these bytes, as they are."""
    width = len(pixels) // 3
    row = pixels[: width * 3] + bytes(-width * 3 % 4)
    head = b"BM" + (54 + len(row)).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    info = (40).to_bytes(4, "little") + width.to_bytes(4, "little") + (1).to_bytes(4, "little")
    return head + info + b"\x01\x00\x18\x00" + bytes(24) + row


def multipart(name, content):
    opening = f'--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    return opening.encode() + content + b"\r\n--b--\r\n"


def canaries(key):
    return {
        "valid key": key,
        "wrong key": f"cs_{secrets.token_hex(16)}",
        "file name": f"canary-{secrets.token_hex(8)}.png",
        "pixels": secrets.token_hex(60).encode(),
        "label": f"canary {secrets.token_hex(8)}",
    }


def provoke(url, secret):
    """Send the canaries in every way; return what errors said."""
    good, pixels, name = secret["valid key"], bmp(secret["pixels"]), secret["file name"]
    broken = pixels[: 54 + 40] + secret["pixels"]
    form = {"Content_Type": "multipart/form-data; boundary=b"}
    text = base64.b64encode(pixels).decode()
    bearer = {"Authorization": f"Bearer {good}"}
    wrong = {"Authorization": f"Bearer {secret['wrong key']}"}
    many = json.dumps({"images": [text, base64.b64encode(broken[:80]).decode()]}).encode()
    feedback = {"label": secret["label"], "request": "x", "image": text}
    kind = {"Content_Type": "application/json"}
    sent = {
        "raw": ("/v1/recognize", pixels, bearer),
        "x-api-key": ("/v1/recognize", pixels, {"X_API_Key": good}),
        "wrong key": ("/v1/recognize", pixels, wrong),
        "wrong x-api-key": ("/v1/recognize", pixels, {"X_API_Key": secret["wrong key"]}),
        "form": ("/v1/recognize", multipart(name, pixels), {**form, **bearer}),
        "broken form": ("/v1/recognize", multipart(name, pixels)[:-8], {**form, **bearer}),
        "form of junk": ("/v1/recognize", multipart(name, secret["pixels"]), {**form, **bearer}),
        "broken picture": ("/v1/recognize", broken[:80], bearer),
        "junk": ("/v1/recognize", secret["pixels"], bearer),
        "json": ("/v1/recognize", many, {**kind, **bearer}),
        "broken json": ("/v1/recognize", many[:-30], {**kind, **bearer}),
        "address": (f"/{good}", None, bearer),
        "unknown key in the query": (f"/v1/models?x={good}", None, bearer),
        "feedback": ("/v1/feedback", json.dumps(feedback).encode(), {**kind, **bearer}),
    }
    answers = {how: send(url, path, body, **head) for how, (path, body, head) in sent.items()}
    assert answers["raw"][0] == 200, answers["raw"]
    assert answers["wrong key"][0] == 401
    assert answers["feedback"][0] == 200, answers["feedback"]
    return {f"error: {how}": said for how, (status, said) in answers.items() if status >= 400}


def test_no_secret_name_or_pixel_is_in_logs_metrics_or_errors(colours, tmp_path):
    store = tmp_path / "store"
    arguments = ["keys", "create", "--name", "test", "--scopes", "recognize,metrics"]
    command = [sys.executable, "-m", "clearsight", *arguments, "--store", str(store), "--quiet"]
    key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    secret = canaries(key)
    with logging_service(colours, tmp_path, store=store) as (service, file):
        found = provoke(service.url, secret)
        assert len(found) >= 6
        _, found["metrics"] = send(service.url, "/metrics", Authorization=f"Bearer {key}")
        assert b"clearsight_refusals_total" in found["metrics"]
        _, found["stats"] = send(service.url, "/v1/stats", Authorization=f"Bearer {key}")
        time.sleep(0.2)
        service.terminate()
        service.process.wait(30)
    found["log"] = file.read_bytes()
    assert found["log"].count(b'"event": "request"') >= 14
    assert hits(secret, found) == []


def test_the_search_finds_what_is_planted():
    secret = canaries("cs_" + secrets.token_hex(16))
    for name, value in secret.items():
        for form in forms(value):
            planted = {"log": b'{"x": "' + form + b'"}', "metrics": b"nothing"}
            assert (name, "log") in hits(secret, planted), form
    assert hits(secret, {"log": b"nothing at all"}) == []
