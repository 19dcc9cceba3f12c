"""Where a service is, and how one makes sure that it is the right one."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from clearsight.core.errors import UsageError


def checked_url(url: str, encrypted: bool) -> str:
    """Return a service's address without a slash at its end.

    Args:
        url: http or https, a host, maybe a port and a path.
        encrypted: refuse what would cross a network in clear.

    Raises:
        UsageError: it cannot be used.

    Example:
        >>> checked_url("http://127.0.0.1:8000/", encrypted=True)
        'http://127.0.0.1:8000'
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url[:200]!r} is no address: {error}.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(
            f"A service's address begins with http:// or https:// and names a host; got "
            f"{url[:200]!r}. Example: http://127.0.0.1:8000."
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError("A service's address holds no user, query or fragment; a key is `key=`.")
    if encrypted and parts.scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"The key would travel to {host} unencrypted. Use an https:// address, or say "
            "plain_http=True where the network itself encrypts."
        )
    return url.rstrip("/")


def checked_key(key: str | None) -> str | None:
    """Return a key that can travel in a header.

    Raises:
        UsageError: it cannot; the message does not show it.
    """
    if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(
            "The key is empty or holds characters that no key has (spaces, line breaks). Copy it "
            "again, without anything around it."
        )
    return key


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("example.org")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context(url: str, ca: Path | None) -> ssl.SSLContext:
    """Return how the other side is made sure of; without TLS an empty context, made in no time.

    Raises:
        UsageError: `ca` is no file of certificates, or the address is not https.
    """
    if not url.startswith("https:"):
        if ca is not None:
            raise UsageError("A CA file has no meaning for an address without https://.")
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{ca} is no file of PEM certificates that can be read.") from error
