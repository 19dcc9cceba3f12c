"""The clients against a real service, and against one that misbehaves."""

import asyncio
import ssl
import subprocess
import threading

import pytest
from client_support import ANSWER, Made, Scripted, colour, encode, jpeg, problem

import clearsight
from clearsight.client import errors
from clearsight.core.errors import ImageError, UsageError

KEY = "cs_live_0123456789abcdef"


@pytest.fixture
def client(running):
    with clearsight.Client(running.url) as made:
        yield made


def test_every_kind_of_picture(client, tmp_path):
    file = tmp_path / "green.png"
    file.write_bytes(encode(colour("green"), "PNG"))
    assert client.recognize(file).label == "green"
    assert client.recognize(str(file)).label == "green"
    assert client.recognize(jpeg(colour("red"))).label == "red"
    assert client.recognize(colour("blue")).label == "blue"
    large = encode(colour("blue", (900, 700)), "BMP")
    assert client.recognize(large).label == "blue"


def test_several_pictures_one_of_them_broken(client):
    good = [jpeg(colour(name)) for name in ("red", "green", "blue")]
    assert [found.label for found in client.recognize(good)] == ["red", "green", "blue"]
    found = client.recognize([good[0], b"no picture", good[2]], errors="return")
    assert [item.label for item in (found[0], found[2])] == ["red", "blue"]
    assert isinstance(found[1], ImageError)
    with pytest.raises(errors.PictureError, match="allowed format"):
        client.recognize(b"no picture")
    everything_bad = client.recognize([b"no picture", b""], errors="return")
    assert [item.reason for item in everything_bad] == ["format", "empty"]


def test_models_and_readiness(client):
    [model] = client.models()
    assert (model.name, model.height, model.classes) == ("colours", 8, ("red", "green", "blue"))
    assert client.ready()
    with clearsight.Client("http://127.0.0.1:9") as nobody:
        assert not nobody.ready()


def test_typed_refusals(client):
    with pytest.raises(errors.UnknownModelError, match="colours"):
        client.recognize(jpeg(colour("red")), model="colors")
    with pytest.raises(errors.ImpossibleRequestError, match="top"):
        client.recognize(jpeg(colour("red")), top=100_000)


def test_nobody_there():
    with (
        clearsight.Client("http://127.0.0.1:9", attempts=1, shrink=False) as nobody,
        pytest.raises(errors.UnreachableError, match="running"),
    ):
        nobody.recognize(b"x")


def test_the_connection_is_kept(scripted):
    with clearsight.Client(scripted.url) as client:
        for _ in range(5):
            client.recognize(b"x")
    assert scripted.connections == 1
    assert len(scripted.asked) == 6


def test_a_connection_that_went_away_is_made_again(scripted):
    scripted.answer = lambda number, asked: Made(break_off=number == 2)
    with clearsight.Client(scripted.url, shrink=False) as client:
        assert client.recognize(b"x").label == "red"
        assert client.recognize(b"x").label == "red"
    assert scripted.connections == 2


def test_a_busy_service_is_asked_again(scripted):
    scripted.answer = lambda number, asked: problem(503, "overloaded") if number < 3 else Made()
    with clearsight.Client(scripted.url, shrink=False) as client:
        assert client.recognize(b"x").label == "red"
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_deadline_holds(scripted, asynchronous):
    scripted.answer = lambda number, asked: Made(after_s=3)
    if asynchronous:

        async def ask():
            async with clearsight.AsyncClient(scripted.url, shrink=False) as client:
                return await client.recognize(b"x", deadline_s=0.2)

        with pytest.raises(errors.DeadlineError, match=r"within 0\.2 s"):
            asyncio.run(ask())
    else:
        with (
            clearsight.Client(scripted.url, shrink=False) as client,
            pytest.raises(errors.DeadlineError, match=r"within 0\.2 s"),
        ):
            client.recognize(b"x", deadline_s=0.2)
    told = float(scripted.asked[0].target.partition("deadline=")[2])
    assert 0 < told <= 0.2


def test_many_at_once_from_asyncio(running):
    names = ["red", "green", "blue"] * 6

    async def ask():
        async with clearsight.AsyncClient(running.url) as client:
            assert await client.ready()
            assert [model.name for model in await client.models()] == ["colours"]
            return await asyncio.gather(*(client.recognize(jpeg(colour(name))) for name in names))

    assert [found.label for found in asyncio.run(ask())] == names


def test_many_at_once_from_threads(client):
    wrong = []

    def ask(name):
        for _ in range(5):
            if client.recognize(jpeg(colour(name))).label != name:
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(n,)) for n in ("red", "green", "blue")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_key_is_sent_and_never_shown(scripted):
    with clearsight.Client(scripted.url, key=KEY) as client:
        client.recognize(b"x")
        assert KEY not in repr(client)
    assert {asked.headers["authorization"] for asked in scripted.asked} == {f"Bearer {KEY}"}


def test_the_key_does_not_cross_a_network_in_clear():
    with pytest.raises(UsageError, match="unencrypted") as caught:
        clearsight.Client("http://recognizer.example", key=KEY)
    assert KEY not in str(caught.value)
    clearsight.Client("http://recognizer.example", key=KEY, plain_http=True).close()


@pytest.mark.parametrize("key", ["", "a b", "a\r\nx: y", "schlüssel"])
def test_keys_that_cannot_travel(key):
    with pytest.raises(UsageError, match="Copy it") as caught:
        clearsight.Client(key=key)
    assert not key or key not in str(caught.value)


def test_the_key_does_not_follow_a_redirect(scripted):
    with Scripted() as elsewhere:
        scripted.answer = lambda number, asked: Made(307, {}, {"location": f"{elsewhere.url}/x"})
        with (
            clearsight.Client(scripted.url, key=KEY, shrink=False) as client,
            pytest.raises(errors.CallError),
        ):
            client.recognize(b"x")
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    "url", ["ftp://a", "127.0.0.1:8000", "http://", "http://u:p@a", "http://a?x=1", "http://a:b"]
)
def test_addresses_that_cannot_be_used(url):
    with pytest.raises(UsageError):
        clearsight.Client(url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, pem = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", key, "-out", pem, "-days", "2", "-subj", "/CN=test"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return pem, key


def test_tls_with_a_ca_of_ones_own(certificate):
    pem, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, key)
    with Scripted(context) as service:
        with clearsight.Client(service.url, key=KEY, ca=pem) as client:
            assert client.recognize(b"x").label == "red"
        with (
            clearsight.Client(service.url, key=KEY, attempts=1, shrink=False) as client,
            pytest.raises(errors.UnreachableError, match="certificate"),
        ):
            client.recognize(b"x")
        assert all(asked.headers["authorization"] for asked in service.asked)
        assert len(service.asked) == 2


def test_ca_files_that_cannot_be_used(tmp_path):
    with pytest.raises(UsageError, match="PEM"):
        clearsight.Client("https://127.0.0.1", ca=tmp_path / "none.pem")
    with pytest.raises(UsageError, match="https"):
        clearsight.Client("http://127.0.0.1", ca=tmp_path / "none.pem")


def test_an_answer_without_end_is_cut(scripted, monkeypatch):
    monkeypatch.setattr("clearsight.client.client.ANSWER_BYTES", 10_000)
    scripted.answer = lambda number, asked: Made(value={**ANSWER, "id": "x" * 100_000})
    with (
        clearsight.Client(scripted.url, shrink=False) as client,
        pytest.raises(errors.AnswerError, match="longer"),
    ):
        client.recognize(b"x")
