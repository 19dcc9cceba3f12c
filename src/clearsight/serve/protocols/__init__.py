"""Ways into the service: one file a protocol; all share one Service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from clearsight.core.registry import Registry

if TYPE_CHECKING:
    from clearsight.core.nouns import Prediction
    from clearsight.serve.grpc_messages import Method
    from clearsight.serve.http_messages import Route
    from clearsight.serve.service import Service

PROTOCOLS = Registry("clearsight.serve.protocols", "protocol", extra="all")
GRPC = "-grpc"
"""How the keys of protocols end that do not speak plain HTTP."""


def http_protocols() -> list[str]:
    """Return the keys of the protocols that share the HTTP port."""
    keys = PROTOCOLS.keys()
    return [key for key in keys if not key.endswith(GRPC)]


def grpc_protocols() -> list[str]:
    """Return the keys of the protocols that share the gRPC port."""
    keys = PROTOCOLS.keys()
    return [key for key in keys if key.endswith(GRPC)]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request of a protocol, as plain data, for clients, tests and documentation.

    Args:
        method: HTTP method; of gRPC "POST".
        target: path and query; of gRPC the method's path.
        content_type: of the body; empty where none is sent.
        body: everything that follows the head; of gRPC the serialized message.
        headers: further ones, names in lower case; of gRPC the metadata.
    """

    method: str
    target: str
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as plain data.

    Args:
        code: HTTP status, "200"; of gRPC the name of the code, "OK".
        headers: by name in lower case; of gRPC the trailing metadata.
        body: the body; of gRPC the serialized message, or the error's detail in UTF-8.
    """

    code: str
    headers: Mapping[str, str]
    body: bytes


class HttpProtocol(Protocol):
    """What a file in this folder defines: constructed with the Service, it gives routes.

    A protocol over gRPC has a key that ends with `GRPC` and is a `GrpcProtocol` instead.
    """

    def __init__(self, service: Service) -> None: ...

    def routes(self) -> list[Route]:
        """Return its routes, each with the scope it needs."""

    @staticmethod
    def exchanges(encoded: bytes, top: int, model: str) -> dict[str, Exchange]:
        """Return, for every way a picture can be sent, the request that sends it."""

    @staticmethod
    def prediction(answer: Answer) -> Prediction:
        """Read the Prediction out of a successful answer to one of `exchanges`."""


class GrpcProtocol(Protocol):
    """What a file in this folder defines for gRPC: constructed with the Service, it gives methods.

    Attributes:
        service_name: "package.Service".
        file: its `FileDescriptorProto`, for reflection.
    """

    service_name: str
    file: Any

    def __init__(self, service: Service) -> None: ...

    def methods(self) -> list[Method]:
        """Return its methods, each with the scope it needs."""

    @staticmethod
    def exchanges(encoded: bytes, top: int, model: str) -> dict[str, Exchange]:
        """Return, for every way a picture can be sent, the message that sends it."""

    @staticmethod
    def prediction(answer: Answer) -> Prediction:
        """Read the Prediction out of a successful answer to one of `exchanges`."""
