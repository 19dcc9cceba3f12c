import pytest
from client_support import Scripted

from clearsight.testing.running_service import running_service
from clearsight.testing.tiny_bundle import write_colour_bundle


@pytest.fixture
def scripted():
    with Scripted() as service:
        yield service


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    return write_colour_bundle(tmp_path_factory.mktemp("bundles") / "colours").path


@pytest.fixture(scope="session")
def running(colours):
    with running_service([colours], grpc=True) as service:
        yield service


@pytest.fixture
def speaking(running):
    pytest.importorskip("grpc")
    return running
