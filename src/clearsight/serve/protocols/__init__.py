"""Ways into the service: one file a protocol; all share one Service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from clearsight.core.registry import Registry

if TYPE_CHECKING:
    from clearsight.core.nouns import Prediction
    from clearsight.serve.http_messages import Route
    from clearsight.serve.service import Service

PROTOCOLS = Registry("clearsight.serve.protocols", "protocol", extra="all")
GRPC = "-grpc"
"""How the keys of protocols end that do not speak plain HTTP."""


def http_protocols() -> list[str]:
    """Return the keys of the protocols that share the HTTP port."""
    keys = PROTOCOLS.keys()
    return [key for key in keys if not key.endswith(GRPC)]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request of a protocol, as plain data, for clients, tests and documentation.

    Args:
        method: HTTP method.
        target: path and query.
        content_type: of the body; empty where none is sent.
        body: everything that follows the head.
    """

    method: str
    target: str
    content_type: str
    body: bytes


class HttpProtocol(Protocol):
    """What a file in this folder defines: constructed with the Service, it gives routes."""

    def __init__(self, service: Service) -> None: ...

    def routes(self) -> list[Route]:
        """Return its routes, each with the scope it needs."""

    @staticmethod
    def exchanges(encoded: bytes, top: int, model: str) -> dict[str, Exchange]:
        """Return, for every way a picture can be sent, the request that sends it."""

    @staticmethod
    def prediction(body: bytes) -> Prediction:
        """Read the Prediction out of a successful answer to one of `exchanges`."""
