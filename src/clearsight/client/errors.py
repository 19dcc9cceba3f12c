"""What a call can end with, in the service's own words.

    ServiceError (core)
    └── CallError                    a call gave no answer
        ├── UnreachableError         no connection, or it broke; the service may never have heard it
        ├── DeadlineError            the time was over before there was an answer
        ├── AnswerError              what came back is no answer of such a service
        └── RefusedError             the service said no: status, problem, request_id
            ├── MalformedRequestError, ImpossibleRequestError, FormatRefusedError
            ├── UnauthorizedError, ForbiddenError, QuotaError
            ├── UnknownModelError, UnknownVersionError, RefusedChangeError
            ├── BodyTooLargeError, BodyTooSlowError
            ├── OverloadedError, NotReadyError, ModelFailedError, InternalError
            ├── ExpiredError         is a DeadlineError too
            └── PictureError         is core's ImageError too

The names are those of the service's own errors; `PROBLEMS` maps the last part of a problem's type.
"""

from __future__ import annotations

from typing import cast, get_args

from clearsight.core.errors import ImageError, ImageReason, ServiceError

PROBLEM_BASE = "urn:clearsight:problem:"


class CallError(ServiceError):
    """A call gave no answer."""


class UnreachableError(CallError):
    """No connection could be made, or it broke before the answer."""


class DeadlineError(CallError):
    """The time was over before there was an answer."""


class AnswerError(CallError):
    """What came back is no answer of such a service."""


class RefusedError(CallError):
    """The service said no.

    Args:
        detail: what the service says, for a person.
        status: the HTTP status.
        problem: the last part of the problem's type, for example "overloaded"; empty when the
            answer was no problem document.
        request_id: finds the request in the service's log; empty when there was none.
        retry_after_s: seconds after which the service asks to try again, where it said so.
    """

    def __init__(
        self,
        detail: str,
        status: int = 0,
        problem: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        CallError.__init__(self, detail)  # not ImageError's, which stands beside it in PictureError
        self.detail = detail
        self.status, self.problem, self.request_id = status, problem, request_id
        self.retry_after_s = retry_after_s


class MalformedRequestError(RefusedError):
    """The request could not be read."""


class ImpossibleRequestError(RefusedError):
    """The request reads well and asks for what cannot be."""


class FormatRefusedError(RefusedError):
    """The request's encoding is not one that is read there."""


class UnauthorizedError(RefusedError):
    """There was no key, or none that is known."""


class ForbiddenError(RefusedError):
    """The key may not do this."""


class QuotaError(RefusedError):
    """The key has used up what it may use for now."""


class UnknownModelError(RefusedError):
    """There is no such model, or no such address."""


class UnknownVersionError(RefusedError):
    """There is no such version of the model."""


class RefusedChangeError(RefusedError):
    """What is served may not be changed so."""


class BodyTooLargeError(RefusedError):
    """The request is larger than the service takes."""


class BodyTooSlowError(RefusedError):
    """The request did not arrive in the service's time."""


class OverloadedError(RefusedError):
    """The service has too much to do; it was asked again as often as there was time for."""


class NotReadyError(RefusedError):
    """The service is starting or stopping."""


class ModelFailedError(RefusedError):
    """The model gave no usable answer."""


class InternalError(RefusedError):
    """The service failed, or something before it."""


class ExpiredError(RefusedError, DeadlineError):
    """The service dropped the request because its deadline passed."""


class PictureError(RefusedError, ImageError):
    """The service cannot use this picture; `reason` says why."""

    def __init__(
        self,
        detail: str,
        status: int = 0,
        problem: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        RefusedError.__init__(self, detail, status, problem, request_id, retry_after_s)
        word = problem.removesuffix("-image").removeprefix("image-")
        self.reason = cast(ImageReason, word if word in get_args(ImageReason) else "undecodable")


PROBLEMS: dict[str, type[RefusedError]] = {
    "malformed-request": MalformedRequestError,
    "malformed-http": MalformedRequestError,
    "method-not-allowed": MalformedRequestError,
    "impossible-request": ImpossibleRequestError,
    "format-refused": FormatRefusedError,
    "unauthorized": UnauthorizedError,
    "forbidden": ForbiddenError,
    "quota": QuotaError,
    "unknown-model": UnknownModelError,
    "not-found": UnknownModelError,
    "unknown-version": UnknownVersionError,
    "refused-change": RefusedChangeError,
    "body-too-large": BodyTooLargeError,
    "head-too-large": BodyTooLargeError,
    "body-too-slow": BodyTooSlowError,
    "head-too-slow": BodyTooSlowError,
    "overloaded": OverloadedError,
    "not-ready": NotReadyError,
    "model-failed": ModelFailedError,
    "internal-error": InternalError,
    "expired": ExpiredError,
    "empty-image": PictureError,
    "undecodable-image": PictureError,
    "image-bytes": PictureError,
    "image-pixels": PictureError,
    "image-format": PictureError,
}

_BY_STATUS: dict[int, type[RefusedError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: UnknownModelError,
    408: BodyTooSlowError,
    409: RefusedChangeError,
    413: BodyTooLargeError,
    415: FormatRefusedError,
    422: ImpossibleRequestError,
    429: QuotaError,
    503: OverloadedError,
    504: ExpiredError,
}


def refusal(
    status: int, problem: str, detail: str, request_id: str, retry_after_s: float | None
) -> RefusedError:
    """Return the typed error of a refusal; an unknown problem is told by its status.

    Example:
        >>> type(refusal(503, "overloaded", "Busy.", "r1", 2.0)).__name__
        'OverloadedError'
    """
    kind = PROBLEMS.get(problem) or _BY_STATUS.get(status)
    if kind is None:
        kind = InternalError if status >= 500 else RefusedError
    return kind(detail, status, problem, request_id, retry_after_s)
