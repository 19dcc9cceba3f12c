"""Taking a TCP port, and saying which one is free when it cannot be had."""

from __future__ import annotations

import errno
import socket

from clearsight.serve.errors import StartError

PORTS_TRIED = 50
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Take a TCP port, before anything slow is loaded.

    Raises:
        StartError: the port is taken or not allowed, or the address is not this machine's; the
            message names a free port.
    """
    if not 0 <= port <= 65535:
        raise StartError(f"A port is 0 to 65535, got {port}. 0 takes any free one.")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartError(f"{host!r} is no address to listen on. Try --host 127.0.0.1.") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)  # from here on nobody else gets this port
    except OSError as error:
        listener.close()
        raise StartError(_refusal(host, port, family, error)) from error
    return listener


def shown(host: str) -> str:
    """Return how a browser on this machine writes the host.

    Example:
        >>> shown("0.0.0.0"), shown("::1")
        ('127.0.0.1', '[::1]')
    """
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - only shown
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _refusal(host: str, port: int, family: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program. {_free(host, port, family)}"
    if error.errno == errno.EACCES:
        return f"Port {port} on {host} is not allowed for this user. {_free(host, 8000, family)}"
    return f"Cannot listen on {host}:{port}: {error.strerror}. Try --host 127.0.0.1."


def _free(host: str, port: int, family: int) -> str:
    for candidate in [*range(port + 1, min(port + PORTS_TRIED, 65536)), 0]:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return f"Try --port {probe.getsockname()[1]}, which is free."
    return "Try --port 0, which takes any free one."
