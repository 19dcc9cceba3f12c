"""The one table from errors to wire codes."""

from __future__ import annotations

from dataclasses import dataclass

from clearsight.core.errors import ImageError
from clearsight.serve import errors


@dataclass(frozen=True, slots=True)
class Status:
    """How one kind of error looks on the wire.

    Args:
        http: HTTP status code.
        slug: stable last part of the problem's `type`.
        title: the same few words for every occurrence.
    """

    http: int
    slug: str
    title: str

    @property
    def grpc(self) -> str:
        """Name of the gRPC status code."""
        return GRPC[self.http]


GRPC = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""gRPC status code by HTTP status code."""


UNEXPECTED = Status(500, "internal-error", "The service failed")

STATUSES: dict[type[Exception], Status] = {
    errors.MalformedRequestError: Status(400, "malformed-request", "The request cannot be read"),
    errors.UnauthorizedError: Status(401, "unauthorized", "A valid key is needed"),
    errors.ForbiddenError: Status(403, "forbidden", "The key may not do this"),
    errors.UnknownModelError: Status(404, "unknown-model", "No such model"),
    errors.UnknownVersionError: Status(404, "unknown-version", "No such version"),
    errors.BodyTooSlowError: Status(408, "body-too-slow", "The body did not arrive in time"),
    errors.RefusedChangeError: Status(409, "refused-change", "The change was refused"),
    errors.BodyTooLargeError: Status(413, "body-too-large", "The request is too large"),
    errors.FormatRefusedError: Status(415, "format-refused", "This encoding is not read here"),
    errors.ImpossibleRequestError: Status(422, "impossible-request", "The request cannot be met"),
    errors.ClientLeftError: Status(499, "client-left", "The client left"),
    errors.QuotaError: Status(429, "quota", "The key has used up its share"),
    errors.ModelFailedError: Status(500, "model-failed", "The model gave no usable answer"),
    errors.OverloadedError: Status(503, "overloaded", "Too much to do at the moment"),
    errors.NotReadyError: Status(503, "not-ready", "The service is not ready"),
    errors.ExpiredError: Status(504, "expired", "The deadline passed"),
}

IMAGE_STATUSES: dict[str, Status] = {
    "empty": Status(400, "empty-image", "There is no picture in the request"),
    "undecodable": Status(400, "undecodable-image", "The picture cannot be decoded"),
    "bytes": Status(413, "image-bytes", "The picture has too many bytes"),
    "pixels": Status(413, "image-pixels", "The picture has too many pixels"),
    "format": Status(415, "image-format", "The picture's format is not allowed"),
}


def status_of(error: BaseException) -> Status:
    """Return how an error looks on the wire; whatever is not in the table is a 500."""
    if isinstance(error, ImageError):
        return IMAGE_STATUSES.get(error.reason, UNEXPECTED)
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return UNEXPECTED


def detail_of(error: BaseException) -> str:
    """Return what a client may read about an error: its own words when it is in the table.

    A decoder's words about a broken picture can hold internals, so they are not passed on.
    """
    if isinstance(error, ImageError) and error.reason == "undecodable":
        return "The picture is damaged or of a kind that is not supported. Send another file."
    if status_of(error) is UNEXPECTED:
        return "Something failed inside the service. The request id finds it in the log."
    return str(error)


def retry_after_s(error: BaseException) -> float | None:
    """Return the seconds to wait before another attempt, where the error knows them."""
    return getattr(error, "retry_after_s", None)
