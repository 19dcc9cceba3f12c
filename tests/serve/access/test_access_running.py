"""A running service with keys: doors, logs, ports and TLS as its users have them."""

import json
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from test_access_secrets import content, hits
from test_access_tls import pair

from clearsight.serve.access.keys import KeyStore
from clearsight.serve.access.terms import Allowance
from clearsight.serve.store.database import Database
from clearsight.serve.store.place import database_url, store_folder
from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

RED = picture("PNG", (200, 20, 20))


@contextmanager
def keys_of(folder):
    database = Database(database_url(store_folder(folder)))
    yield KeyStore(database)
    database.close()


def get(url, path, token=None, body=None):
    request = urllib.request.Request(url + path, body)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def recognize(url, token=None):
    return get(url, "/v1/recognize", token, RED)


def listening(pid):
    """Return (address, port) of every TCP socket on which a process listens."""
    inodes = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed between the two looks
            if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(path)):
                inodes.add(match[1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found


def within(seconds, answers, expected):
    """Say whether an answer becomes one of the expected ones in time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if answers() in expected:
            return True
        time.sleep(0.05)
    return False


LOOPBACK = "0100007F"


def test_the_first_key_closes_the_door_and_a_revoked_one_ends(colours, tmp_path, capfd, one_house):
    folder = tmp_path / "store"
    with (
        keys_of(folder) as store,
        running_service([colours], store=folder, environment={"CLEARSIGHT_LOG": "info"}) as run,
    ):
        assert recognize(run.url)[0] == 200
        served = set(json.loads(get(run.url, "/openapi.json")[1])["paths"])
        assert len(served) > 20
        assert served <= {route.path for route in one_house.routes}  # all of them were tried
        assert get(run.url, "/v2/repository/index", body=b"{}")[0] == 403  # nobody administers
        tokens = [store.create(f"key {n}", ["recognize", "metrics"]).token for n in range(20)]
        assert within(20, lambda: recognize(run.url)[0], {401})
        assert within(20, lambda: recognize(run.url, tokens[-1])[0], {200})
        assert all(recognize(run.url, token)[0] == 200 for token in tokens)
        wrong = [get(run.url, "/v1/models", f"{tokens[0]}{n}")[0] for n in range(200)]
        assert wrong[:20] == [401] * 20
        assert wrong.count(429) > 150
        assert all(recognize(run.url, token)[0] == 200 for token in tokens)  # same address
        store.revoke("key 0")
        assert within(20, lambda: recognize(run.url, tokens[0])[0], {401, 429})
        limited = store.create("limited", allowance=Allowance(day=1)).token
        assert within(20, lambda: recognize(run.url, limited)[0], {200})
        refused = recognize(run.url, limited)
        assert refused[0] == 429
        assert b"pictures a day" in refused[1]
        assert listening(run.process.pid) == {(LOOPBACK, run.port)}  # check 30: nothing else
        metrics = get(run.url, "/metrics", tokens[1])[1]
        assert b"clearsight_" in metrics
        run.terminate()
        run.process.wait(20)
        said = capfd.readouterr().err
    assert "/v1/recognize" in said
    assert hits([*tokens, limited], said.encode(), metrics, *content(folder)) == 0
    with running_service([colours], store=folder) as again:  # counted before it was stopped
        assert recognize(again.url, limited)[0] == 429


def test_a_planted_port_would_be_found():
    program = "import socket\ns = socket.create_server(('0.0.0.0', 0))\nprint(flush=True)\ninput()"
    planted = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    planted.stdout.readline()
    try:
        assert {address for address, _ in listening(planted.pid)} == {"00000000"}
    finally:
        planted.communicate(b"\n")


@contextmanager
def started(*arguments):
    """`clearsight serve` from the command line; yields its address."""
    command = [sys.executable, "-m", "clearsight", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"https?://\S+", process.stdout.readline())[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_tls_from_the_command_line(colours, tmp_path):
    tls = pair(tmp_path, "server")
    files = ["--tls-cert", tls.certificate, "--tls-key", tls.key]
    trusting = ssl.create_default_context(cafile=tls.certificate)
    trusting.check_hostname = False
    with started(colours, "--store", tmp_path / "store", *files) as url:
        assert url.startswith("https://")
        request = urllib.request.Request(f"{url}/v1/recognize", RED)
        with urllib.request.urlopen(request, timeout=20, context=trusting) as answer:
            assert json.load(answer)["predictions"][0]["label"] == "red"
        with pytest.raises(OSError, match=r"closed|reset|aborted"):
            urllib.request.urlopen(url.replace("https", "http"), timeout=5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tls-cert", "server.pem"], "both --tls-cert and --tls-key"),
        (["--tls-cert", "old.pem", "--tls-key", "old.key"], "expired"),
    ],
)
def test_tls_files_that_cannot_work_end_before_a_port_is_open(tmp_path, arguments, words):
    pair(tmp_path, "old", ends=-0.5)
    done = subprocess.run(
        [sys.executable, "-m", "clearsight", "serve", "no-such-run", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
    )
    assert done.returncode in (1, 2)
    assert words in done.stderr
