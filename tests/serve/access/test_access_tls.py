"""TLS files: the right ones work, every wrong one is named before a port is opened."""

import datetime
import socket
import ssl
import threading
import warnings

import pytest

from clearsight.core.errors import StorageError
from clearsight.serve.access.tls import Tls
from clearsight.serve.app import build_app
from clearsight.serve.errors import StartError
from clearsight.serve.http_server import HttpServer
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.testing.protocol_contract import WatchedPredictor

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: E402

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)


def pair(folder, name, begins=-1, ends=30, purpose=None, password=None, issuer=None):
    """Write a certificate that is valid from and to a number of days from now, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0] if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins * DAY)
        .not_valid_after(NOW + ends * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    locked = serialization.NoEncryption()
    if password:
        locked = serialization.BestAvailableEncryption(password)
    tls = Tls(folder / f"{name}.pem", folder / f"{name}.key")
    tls.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    tls.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    return tls


def answer_once(context, versions=None):
    """Serve one TLS connection and return what a trusting client saw."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        try:
            with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.sendall(b"hello")
        except OSError:
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    if versions:
        client.minimum_version, client.maximum_version = versions
        client.set_ciphers("DEFAULT:@SECLEVEL=0")
    try:
        with (
            socket.create_connection(listener.getsockname(), timeout=5) as plain,
            client.wrap_socket(plain) as connection,
        ):
            return connection.version(), connection.recv(5)
    finally:
        thread.join()
        listener.close()


def test_a_pair_that_works(tmp_path):
    tls = pair(tmp_path, "good")
    assert answer_once(tls.context()) == ("TLSv1.3", b"hello")
    key, certificate = tls.pem()
    assert b"PRIVATE KEY" in key
    assert b"CERTIFICATE" in certificate


def test_tls_1_2_and_nothing_older(tmp_path):
    context = pair(tmp_path, "good").context()
    only_12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    assert answer_once(context, only_12)[0] == "TLSv1.2"
    older = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            answer_once(context, older)


def test_a_certificate_of_an_authority_and_one_for_servers(tmp_path):
    authority = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    pair(tmp_path, "issued", issuer=(name, authority)).context()
    pair(tmp_path, "server", purpose=ExtendedKeyUsageOID.SERVER_AUTH).context()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        ({"ends": -0.5}, "has expired"),
        ({"begins": 1}, "not valid yet"),
        ({"purpose": ExtendedKeyUsageOID.CLIENT_AUTH}, "not made for servers"),
        ({"password": b"secret"}, "openssl pkey"),
    ],
)
def test_a_pair_that_cannot_work(tmp_path, make, words):
    tls = pair(tmp_path, "bad", **make)
    with pytest.raises(StartError, match=words):
        tls.context()
    with pytest.raises(StartError):
        tls.pem()


def test_a_key_of_another_certificate(tmp_path):
    one, other = pair(tmp_path, "one"), pair(tmp_path, "other")
    with pytest.raises(StartError, match="does not belong"):
        Tls(one.certificate, other.key).context()


def test_files_that_are_missing_or_nothing(tmp_path):
    good = pair(tmp_path, "good")
    nothing = tmp_path / "nothing.pem"
    for tls in (Tls(nothing, good.key), Tls(good.certificate, nothing)):
        with pytest.raises(StorageError, match=r"nothing\.pem"):
            tls.context()
    nothing.write_bytes(b"not a certificate")
    for tls in (Tls(nothing, good.key), Tls(good.certificate, nothing)):
        with pytest.raises(StartError, match=r"nothing\.pem"):
            tls.context()
    with pytest.raises(StartError, match="CERTIFICATE"):
        Tls(good.key, good.certificate).context()


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_damaged_files(tmp_path, which):
    tls = pair(tmp_path, "good")
    path = getattr(tls, which)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:20], *lines[2:]]) + "\n")
    with pytest.raises(StartError, match="damaged"):
        tls.context()


def test_messages_hold_nothing_of_the_key(tmp_path):
    tls = pair(tmp_path, "bad", password=b"secret")
    with pytest.raises(StartError) as refused:
        tls.context()
    assert tls.key.read_text().splitlines()[1] not in str(refused.value)


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_client_that_never_finishes_the_handshake_is_let_go(tmp_path, encrypted):
    tls = pair(tmp_path, "good").context() if encrypted else None
    model = Model("watched", "1", WatchedPredictor())
    service = Service([model], ServiceLimits(header_s=0.5, linger_s=0.0))
    ready, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))
    server = HttpServer(build_app(service), service, ready.set, tls)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(20)
        with socket.create_connection(listener.getsockname(), timeout=20) as silent:
            silent.sendall(b"\x16\x03\x01")
            while silent.recv(4096):  # closed by the service, well before a minute
                pass
    finally:
        server.should_exit = True
        thread.join()
        service.close()
