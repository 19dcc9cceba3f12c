"""Independent clients of the Open Inference Protocol against the service in its own process."""

import http.client
import importlib.util
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grpc_health", reason="pip install 'clearsight[grpc]'")

from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

HERE = Path(__file__).parent
TRITON, KSERVE = "CLEARSIGHT_TRITON_PYTHON", "CLEARSIGHT_KSERVE_PYTHON"
OPEN_INFERENCE = "CLEARSIGHT_OPEN_INFERENCE_PYTHON"


def interpreter(variable, module):
    """Return an interpreter that has a client: this one, or the one a variable names."""
    if importlib.util.find_spec(module):
        return sys.executable
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{module} is not installed; name a Python that has it in {variable}")
    return path


@pytest.fixture(scope="module")
def served(colours, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    arguments = ["--name", "tests", "--scopes", "recognize,metrics,admin", "--quiet"]
    key = subprocess.run(
        [sys.executable, "-m", "clearsight", "keys", "create", *arguments, "--store", str(store)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    with running_service([colours], grpc=True, store=store) as service:
        yield service, key.stdout.strip(), tmp_path_factory.mktemp("pictures")


def run(python, program, served, http_address):

    service, key, folder = served
    path = folder / "red.png"
    path.write_bytes(picture("PNG", (220, 10, 10), size=(80, 60)))
    addresses = [http_address, service.grpc]
    done = subprocess.run(
        [python, str(HERE / program), *addresses, key, "colours", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "GRPC_VERBOSITY": "ERROR"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[:2] == ["ok", "red"]


def test_tritonclient_runs_every_call_over_both(served):
    python = interpreter(TRITON, "tritonclient")
    run(python, "triton_calls.py", served, served[0].url.removeprefix("http://"))


def test_kserve_runs_every_call_over_both(served):
    run(interpreter(KSERVE, "kserve"), "kserve_calls.py", served, served[0].url)


def test_the_protocols_own_client_runs_every_call(served):
    python = interpreter(OPEN_INFERENCE, "open_inference")
    run(python, "open_inference_calls.py", served, served[0].url)


def test_a_stop_is_seen_by_probes_and_ends_with_0(colours):
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with running_service([colours], grpc=True, linger_s=0.5) as service:
        with grpc.insecure_channel(service.grpc) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            service.terminate()
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert service.process.wait(20) == 0


def peak_mb(pid):
    """Return the most memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def forget_peak(pid):
    Path(f"/proc/{pid}/clear_refs").write_text("5")


MEGABYTES = 30
HOSTILE_MESSAGES = {
    "empty inputs": lambda: b"\x2a\x00" * (MEGABYTES * 2**19),
    "empty raw contents": lambda: b"\x3a\x00" * (MEGABYTES * 2**19),
    "empty pictures": lambda: one_input(b"\x42\x00" * (MEGABYTES * 2**19)),
    "small numbers": lambda: one_input(b"\x20\x01" * (MEGABYTES * 2**19)),
}
HOSTILE_BODIES = {
    "empty lists": lambda: b'{"inputs":[' + b"[]," * (MEGABYTES * 2**18) + b"[]]}",
    "small numbers": lambda: b'{"inputs":[' + b"1," * (MEGABYTES * 2**19) + b"1]}",
    "deep": lambda: b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


def one_input(contents):
    """Return a ModelInferRequest with one input of given typed contents."""

    def field(number, content):
        length, told = len(content), b""
        while length > 127:
            told, length = told + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + told + bytes([length]) + content

    tensor = field(1, b"image") + field(2, b"BYTES") + field(3, b"\x01") + field(5, contents)
    return field(1, b"colours") + field(5, tensor)


@pytest.mark.slow
def test_hostile_requests_of_full_size_cost_a_bounded_amount_of_memory(colours):
    import grpc

    with running_service([colours], grpc=True) as service:
        pid = service.process.pid
        with grpc.insecure_channel(
            service.grpc, options=[("grpc.max_send_message_length", -1)]
        ) as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            for case, made in HOSTILE_MESSAGES.items():
                forget_peak(pid)
                before = peak_mb(pid)
                with pytest.raises(grpc.RpcError) as caught:
                    infer(made(), timeout=30)
                assert caught.value.code().name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
                assert peak_mb(pid) - before < 6 * MEGABYTES, case
            for case, made in HOSTILE_BODIES.items():
                forget_peak(pid)
                before = peak_mb(pid)
                request = urllib.request.Request(f"{service.url}/v2/models/colours/infer", made())
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(request, timeout=30)
                assert refused.value.code in (400, 413)
                refused.value.close()
                assert peak_mb(pid) - before < 6 * MEGABYTES, case
            picture_now = infer_one(infer)
        assert picture_now


def infer_one(infer):
    """Say whether an honest call is still answered."""
    from clearsight.serve.oip.ways import grpc_exchanges

    exchange = grpc_exchanges(picture("PNG", (220, 10, 10)), 1, "colours")["raw contents"]
    return b"red" in infer(exchange.body, timeout=10)


def mutated(generator, body):
    """Return a request with bytes flipped, cut out, doubled or cut off."""
    changed = bytearray(body)
    for _ in range(generator.integers(1, 5)):
        at = int(generator.integers(0, len(changed) + 1))
        upto = at + int(generator.integers(1, 9))
        match generator.integers(0, 5):
            case 0:
                changed[at:upto] = generator.bytes(upto - at)
            case 1:
                del changed[at:upto]
            case 2:
                changed[at:at] = changed[at:upto]
            case 3:
                changed[at:upto] = b"\xff" * (upto - at)
            case _:
                del changed[at:]
    return bytes(changed)


@pytest.mark.slow
def test_ten_thousand_mutated_requests_are_answered_or_refused(colours):
    import grpc

    from clearsight.serve.protocols.oip_grpc import OipGrpc
    from clearsight.serve.protocols.oip_rest import OipRest

    generator = np.random.default_rng(11)
    encoded = picture("PNG", (220, 10, 10))
    codes = Counter()
    with running_service([colours], grpc=True) as service:
        channel = grpc.insecure_channel(service.grpc)
        connection = http.client.HTTPConnection(service.url.removeprefix("http://"))
        exchanges = [
            exchange
            for protocol in (OipRest, OipGrpc)
            for exchange in protocol.exchanges(encoded, 5, "colours").values()
        ]
        peaks = []
        for number in range(10_000):
            exchange = exchanges[number % len(exchanges)]
            body = mutated(generator, exchange.body)
            if exchange.content_type == "application/grpc":
                codes[grpc_code(channel, exchange.target, body)] += 1
            else:
                headers = {"content-type": exchange.content_type, **dict(exchange.headers)}
                connection.request("POST", exchange.target, body, headers)
                answer = connection.getresponse()
                assert answer.read(), "an empty body"
                codes[answer.status] += 1
            if number % 1000 == 999:
                peaks.append(peak_mb(service.process.pid))
        channel.close()
        assert service.process.poll() is None
    assert set(codes) <= {200, 400, 413, 415, 422, 404} | {
        *("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "NOT_FOUND")
    }, codes
    assert codes[200] > 100
    assert codes[400] > 1000
    assert codes["OK"] > 100
    assert peaks[-1] - peaks[0] < 50, peaks


def grpc_code(channel, target, body):
    """Return the name of the code that a call ends with."""
    import grpc

    try:
        channel.unary_unary(target)(body, timeout=20)
    except grpc.RpcError as error:
        return error.code().name if error.details() else "no detail"
    return "OK"
