"""Who asks: what every request carries after its key was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from clearsight.serve.errors import ForbiddenError, UnauthorizedError

Scope = Literal["recognize", "explain", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
RouteScope = Literal["public", "recognize", "explain", "metrics", "admin"]
"""What a route asks of its caller; "public" asks nothing."""
ROUTE_SCOPES: tuple[RouteScope, ...] = get_args(RouteScope)
KEY_NEEDED = (
    "A valid key is needed. Send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'; "
    "'clearsight keys create' makes one."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request.

    Args:
        id: the account of the key: the id of the first key of a line of rotated ones, so that it
            stays when a key is rotated; "" without a key.
        tenant: whose key it is; "" for the default tenant.
        scopes: what it may do.

    Example:
        >>> Caller("4Jd0x7QmZk2B", "", frozenset({"recognize"})).require("recognize")
    """

    id: str
    tenant: str
    scopes: frozenset[str]

    def require(self, scope: RouteScope) -> None:
        """Pass when the caller may do this.

        Raises:
            UnauthorizedError: there was no key.
            ForbiddenError: the key may not do it, or no key can here.
        """
        if scope == "public" or scope in self.scopes:
            return
        if self.id:
            allowed = ", ".join(sorted(self.scopes))
            raise ForbiddenError(f"This needs the scope {scope!r}; the key has: {allowed}.")
        if self.scopes:
            raise ForbiddenError(
                f"This needs a key with the scope {scope!r}, and the service runs without keys."
            )
        raise UnauthorizedError(KEY_NEEDED)


ANONYMOUS = Caller("", "", frozenset({"recognize", "explain", "metrics"}))
"""Whoever asks a service that has no keys: everything but administration."""
NOBODY = Caller("", "", frozenset())
"""Whoever asks a service that has keys without showing one: what is public, and nothing else."""


class Access(Protocol):
    """Knows who asks and how much of the service they may use."""

    def caller(self, token: str | None, address: str) -> Caller:
        """Return whoever holds a key.

        Args:
            token: the key, None where the request carries none.
            address: where the request comes from.

        Raises:
            UnauthorizedError: a key is needed and there is none, or none that is known.
            QuotaError: too many wrong keys from this address.
        """

    def charge(self, caller: Caller, pictures: int) -> None:
        """Count pictures against what a caller may use.

        Raises:
            QuotaError: it is used up; nothing was counted.
        """

    def give_back(self, caller: Caller, pictures: int) -> None:
        """Take back a `charge` for pictures that the service itself refused afterwards."""


class Everybody:
    """The access of a service without keys."""

    def caller(self, token: str | None, address: str) -> Caller:
        """Return `ANONYMOUS`, whatever the token."""
        return ANONYMOUS

    def charge(self, caller: Caller, pictures: int) -> None:
        """Count nothing."""

    def give_back(self, caller: Caller, pictures: int) -> None:
        """Count nothing."""
