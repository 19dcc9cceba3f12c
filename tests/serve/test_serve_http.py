"""The service in its own process, through a real socket."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

RED = picture("PNG", (200, 20, 20), size=(400, 300))


def post(url, body, timeout=20, **headers):
    request = urllib.request.Request(f"{url}/v1/recognize", body, headers)
    request.add_header("Content-Type", "application/octet-stream")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def get(url, path):
    with urllib.request.urlopen(url + path, timeout=10) as answer:
        return answer.status, answer.read()


def talk(port, *pieces, pause_s=0.0, timeout_s=10):
    """Send pieces slowly and return everything until the service closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(pause_s)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


def head(length, extra=b""):
    return (
        b"POST /v1/recognize HTTP/1.1\r\nhost: x\r\n"
        + extra
        + (b"content-length: %d\r\n\r\n" % length if length is not None else b"\r\n")
    )


@pytest.fixture(scope="module")
def strict(colours):
    limits = {"header_s": 0.5, "body_s": 0.5, "idle_s": 1, "body_bytes": 100_000}
    with running_service([colours], **limits) as service:
        yield service


def test_answers_and_needs_no_torch(running):
    assert post(running.url, RED)[1]["predictions"][0]["label"] == "red"
    assert get(running.url, "/readyz")[0] == 200
    heavy = {"torch", "torchvision", "timm", "sklearn", "scipy", "pandas", "onnx", "matplotlib"}
    heavy |= {"grpc", "google"}
    assert not heavy & set(running.modules)


def test_a_head_that_does_not_end_is_refused(strict):
    started = time.monotonic()
    assert talk(strict.port, b"GET /livez HTTP/1.1\r\nhost: x\r\n").startswith(b"HTTP/1.1 408")
    assert talk(strict.port).startswith(b"HTTP/1.1 408")
    drip = [b"x: y\r\n"] * 30
    assert b"408" in talk(strict.port, b"GET / HTTP/1.1\r\n", *drip, pause_s=0.05)[:20]
    assert time.monotonic() - started < 6


def test_a_large_head_is_refused(strict):
    lines = [b"GET /livez HTTP/1.1\r\nhost: x\r\n"] + [b"x: " + b"y" * 10_000 + b"\r\n"] * 100
    assert talk(strict.port, *lines)[:12] in (b"HTTP/1.1 431", b"")
    assert talk(strict.port, b"GET /" + b"a" * 1_000_000)[:12] in (b"HTTP/1.1 431", b"")
    assert get(strict.url, "/livez")[0] == 200


def test_a_slow_body_is_refused(strict):
    got = talk(strict.port, head(1000), *[b"x"] * 20, pause_s=0.05)
    assert got.startswith(b"HTTP/1.1 408")
    assert b"body-too-slow" in got
    assert b"connection: close" in got


def test_an_idle_connection_is_closed(strict):
    started = time.monotonic()
    got = talk(strict.port, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200")
    assert time.monotonic() - started < 5


def test_too_large_is_refused_and_the_client_can_read_why(strict):
    assert post(strict.url, bytes(5_000_000))[0] == 413
    chunked = b"transfer-encoding: chunked\r\n"
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    got = talk(strict.port, head(None, chunked), *[chunk] * 50, b"0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 413")


def test_a_body_without_an_end_is_cut_off(strict):
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    started = time.monotonic()
    talk(strict.port, head(None, b"transfer-encoding: chunked\r\n"), *[chunk] * 400, pause_s=0.01)
    assert time.monotonic() - started < 10
    assert get(strict.url, "/livez")[0] == 200


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\x00" * 100]
)
def test_junk_is_answered_400_or_closed(strict, junk):
    got = talk(strict.port, junk)
    assert got[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 408", b"")
    assert not got or b"application/problem+json" in got
    assert get(strict.url, "/livez")[0] == 200


def test_many_slow_clients_do_not_stop_the_others(strict):
    slow = [socket.create_connection(("127.0.0.1", strict.port)) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(head(50_000) + b"x")
        for _ in range(20):
            assert post(strict.url, RED, timeout=5)[0] == 200
    finally:
        for connection in slow:
            connection.close()


def test_sigterm_is_not_ready_at_once_drops_nothing_and_ends_with_0(colours):
    with running_service([colours], linger_s=0.5) as service:
        outcomes, balancer_saw_it = [], threading.Event()

        def client():
            while not balancer_saw_it.is_set():
                try:
                    outcomes.append(post(service.url, RED)[0])
                except OSError as error:
                    outcomes.append(repr(error))

        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        service.terminate()
        time.sleep(0.1)
        with pytest.raises(urllib.error.HTTPError) as stopping:
            get(service.url, "/readyz")
        balancer_saw_it.set()
        assert stopping.value.code == 503
        stopping.value.close()
        for thread in threads:
            thread.join(10)
        assert service.process.wait(10) == 0
        assert outcomes.count(200) > 20
        assert set(outcomes) == {200}, "a request was dropped"


@pytest.mark.parametrize("first_bytes", [0, 30])
def test_a_connection_that_is_about_to_ask_is_not_cut(colours, first_bytes):
    request = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    with (
        running_service([colours], linger_s=0) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection,
    ):
        connection.sendall(request[:first_bytes])
        time.sleep(0.1)
        service.terminate()
        time.sleep(0.15)
        connection.sendall(request[first_bytes:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert service.process.wait(10) == 0


def test_a_request_in_flight_is_answered_after_sigterm(colours):
    with running_service([colours], linger_s=0) as service:
        body = head(len(RED))
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
            connection.sendall(body + RED[:100])
            time.sleep(0.2)
            service.terminate()
            time.sleep(0.4)
            connection.sendall(RED[100:])
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        assert received.startswith(b"HTTP/1.1 200")
        assert b'"label":"red"' in received
        assert service.process.wait(10) == 0


def test_all_bodies_together_are_bounded_and_given_back(colours):
    with running_service([colours], buffered_bytes=300_000, body_s=5) as service:
        held = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(2)]
        for connection in held:
            connection.sendall(head(200_000) + bytes(140_000))
        time.sleep(0.5)
        status, body = post(service.url, bytes(50_000))
        assert status == 503
        assert body["type"].endswith("overloaded")
        for connection in held:
            connection.close()
        time.sleep(0.5)
        assert post(service.url, RED)[0] == 200
