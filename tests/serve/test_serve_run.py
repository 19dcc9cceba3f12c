import socket
from pathlib import Path

import pytest

from clearsight.core.errors import BundleError
from clearsight.serve.catalogue import model_name
from clearsight.serve.errors import StartError
from clearsight.serve.listening import listen
from clearsight.serve.run import Door, open_service, serve
from clearsight.testing.tiny_bundle import write_colour_bundle


@pytest.fixture
def taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_taken_port_is_named_with_a_free_one_before_anything_is_loaded(taken):
    with pytest.raises(StartError) as refused:
        serve([Path("there/is/no/bundle")], Door(port=taken))
    message = str(refused.value)
    assert f"Port {taken} " in message
    free = int(message.split("--port ")[1].split(",")[0])
    listen("127.0.0.1", free).close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_that_is_not_ours(host):
    with pytest.raises(StartError, match=r"127\.0\.0\.1"):
        listen(host, 0)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none(port):
    with pytest.raises(StartError):
        listen("127.0.0.1", port)


def test_port_0_takes_a_free_one():
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0


def test_nothing_to_serve(tmp_path):
    with pytest.raises(StartError, match="no model"):
        open_service([])
    with pytest.raises(BundleError, match="no Bundle"):
        open_service([tmp_path])


def test_two_folders_of_one_name(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    paths = [write_colour_bundle(tmp_path / part / "shoes").path for part in "ab"]
    with pytest.raises(StartError, match="'shoes'"):
        open_service(paths)


def test_a_model_that_gives_no_numbers_is_not_served(tmp_path):
    bundle = write_colour_bundle(tmp_path / "broken", gain=float("nan"))
    with pytest.raises((StartError, BundleError)):
        open_service([bundle.path])


def test_a_changed_bundle_is_not_served(tmp_path):
    bundle = write_colour_bundle(tmp_path / "changed")
    model = bundle.path / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match="hash"):
        open_service([bundle.path])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/7", "7"),
        ("runs/7/bundle", "7"),
        ("My Shoes (2)", "my-shoes-2"),
        ("猫狗", "recognizer"),
        (".hidden", "hidden"),
        ("a" * 100, "a" * 64),
    ],
)
def test_models_are_named_after_their_folder(tmp_path, path, name):
    assert model_name(tmp_path / path) == name
