"""Independent clients of the Open Inference Protocol against the service in its own process."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("grpc_health", reason="pip install 'clearsight[grpc]'")

from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

HERE = Path(__file__).parent
TRITON, KSERVE = "CLEARSIGHT_TRITON_PYTHON", "CLEARSIGHT_KSERVE_PYTHON"


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
