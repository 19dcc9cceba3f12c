"""TLS for the service: a certificate and its key, proven to work before any port is opened."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from clearsight.core.files import storage_errors
from clearsight.serve.errors import StartError

HANDSHAKE_STEPS = 20
EXPIRED, NOT_YET, WRONG_PURPOSE = 10, 9, 26  # X509_V_ERR_... of OpenSSL


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate and its key, in PEM files.

    Args:
        certificate: the server's certificate, followed by those between it and the authority.
        key: its private key, without a password.
    """

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return a server's context for TLS 1.2 and 1.3, after a handshake with itself.

        Raises:
            StartError: a file is missing, is no PEM, does not belong to the other, is locked with a
                password, or the certificate is expired, not valid yet, or not for servers.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context)
        self._shake_hands(context)
        return context

    def pem(self) -> tuple[bytes, bytes]:
        """Return the bytes of the key and of the certificate, as gRPC takes them.

        Raises:
            StartError: see `context`, which is tried first.
        """
        self.context()
        return self.key.read_bytes(), self.certificate.read_bytes()

    def _load(self, context: ssl.SSLContext) -> None:
        for path, what in ((self.certificate, "CERTIFICATE"), (self.key, "PRIVATE KEY")):
            with storage_errors(path):
                content = path.read_bytes()
            if b"-----BEGIN " not in content or what.encode() + b"-----" not in content:
                raise StartError(
                    f"{path} holds no {what} in PEM (text with '-----BEGIN ... {what}-----'). "
                    "Give the certificate with --tls-cert and its key with --tls-key."
                )
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except ssl.SSLError as error:
            raise StartError(self._refusal(error)) from error

    def _refusal(self, error: ssl.SSLError) -> str:
        if "MISMATCH" in (error.reason or ""):
            return (
                f"The key {self.key} does not belong to the certificate {self.certificate}. Give "
                "the pair that was made together; the server's own certificate comes first."
            )
        return f"{self.certificate} or {self.key} is damaged ({error.reason or 'no PEM'})."

    def _shake_hands(self, context: ssl.SSLContext) -> None:
        """Let a client that trusts exactly this certificate connect, in memory."""
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        try:
            client.load_verify_locations(self.certificate)
            _connect(context, client)
        except ssl.SSLCertVerificationError as error:
            words = {
                EXPIRED: "has expired. Renew it.",
                NOT_YET: "is not valid yet. Check this machine's clock.",
                WRONG_PURPOSE: "is not made for servers. Ask for one with 'serverAuth'.",
            }
            problem = words.get(error.verify_code, f"is not usable: {error.verify_message}.")
            raise StartError(f"The certificate {self.certificate} {problem}") from error
        except ssl.SSLError as error:
            raise StartError(
                f"No TLS connection can be made with {self.certificate}: {error.reason}."
            ) from error


def _connect(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = server.wrap_bio(upwards, downwards, server_side=True)
    there = client.wrap_bio(downwards, upwards)
    for _ in range(HANDSHAKE_STEPS):
        done = 0
        for side in (there, here):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
                done += 1
        if done == 2:
            return
    raise ssl.SSLError("the handshake does not end")


def _no_password() -> NoReturn:
    raise StartError(
        "The TLS key is locked with a password. Unlock it into a file that only the service may "
        "read: openssl pkey -in KEY -out UNLOCKED"
    )
