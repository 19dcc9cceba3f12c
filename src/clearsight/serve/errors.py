"""What can go wrong with one request, in the domain's own words; no transport appears here.

    ServiceError (core)
    ├── StartError          the service cannot start: port taken, two models of one name
    └── RequestError        one request is not answered
        ├── MalformedRequestError    it cannot be read
        ├── ImpossibleRequestError   it reads well and asks for what cannot be
        ├── FormatRefusedError       its encoding is not one that is read here
        ├── UnauthorizedError        it carries no key, or none that is known
        ├── ForbiddenError           its key may not do this
        ├── QuotaError               its key has used up what it may use
        ├── UnknownModelError        it names a model that is not served
        ├── UnknownVersionError      it names a version that the model does not have
        ├── RefusedChangeError       a change of the registry does not pass its checks
        ├── BodyTooLargeError        it is larger than the limit
        ├── BodyTooSlowError         its body did not arrive in time
        ├── OverloadedError          the queue is full, or it would wait past its deadline
        ├── NotReadyError            the service is starting or stopping
        ├── ExpiredError             its deadline passed before there was an answer
        ├── ClientLeftError          nobody waits for the answer any more
        └── ModelFailedError         the model raised, or gave scores that are no numbers

A picture that cannot be used is core's ImageError. `status.py` maps all of them to wire codes.
"""

from __future__ import annotations

from collections.abc import Iterable

from clearsight.core.errors import ServiceError, nearest


class StartError(ServiceError):
    """The service cannot start."""


class RequestError(ServiceError):
    """One request is not answered; the message is meant for the client and names no internals."""


class MalformedRequestError(RequestError):
    """The request cannot be read."""


class ImpossibleRequestError(RequestError):
    """The request reads well and asks for what cannot be."""


class FormatRefusedError(RequestError):
    """The request's encoding is not one that is read here."""


class UnauthorizedError(RequestError):
    """The request carries no key, or none that is known; it is not said which."""


class ForbiddenError(RequestError):
    """The request's key may not do this."""


class QuotaError(RequestError):
    """The request's key has used up what it may use for now.

    Args:
        retry_after_s: seconds after which it may ask again.
    """

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class UnknownModelError(RequestError):
    """The request names a model that is not served.

    Args:
        name: what was asked for.
        served: every name that is served.
    """

    def __init__(self, name: str, served: Iterable[str]) -> None:
        super().__init__(f"No model {name[:80]!r} is served here.{nearest(name[:80], served)}")


class UnknownVersionError(RequestError):
    """The request names a version that the model does not have.

    Args:
        name: the model.
        version: what was asked for.
        known: every version there is.
    """

    def __init__(self, name: str, version: str, known: Iterable[str]) -> None:
        hint = nearest(version[:80], known)
        super().__init__(f"The model {name!r} has no version {version[:80]!r}.{hint}")


class RefusedChangeError(RequestError):
    """A change of the registry does not pass its checks; nothing was changed."""


class BodyTooLargeError(RequestError):
    """The request is larger than the limit."""


class BodyTooSlowError(RequestError):
    """The request's body did not arrive in time."""


class OverloadedError(RequestError):
    """The queue is full, or the request would wait past its deadline.

    Args:
        retry_after_s: seconds after which a new attempt has a good chance.
    """

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class NotReadyError(RequestError):
    """The service is starting or stopping."""

    retry_after_s = 1.0


class ExpiredError(RequestError):
    """The request's deadline passed before there was an answer."""


class ClientLeftError(RequestError):
    """Nobody waits for the answer any more."""


class ModelFailedError(RequestError):
    """The model raised, or gave scores that are no numbers."""
