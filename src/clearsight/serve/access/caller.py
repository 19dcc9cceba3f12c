"""Who asks: what every request carries after its key was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from clearsight.serve.errors import ForbiddenError

Scope = Literal["recognize", "explain", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
RouteScope = Literal["public", "recognize", "explain", "metrics", "admin"]
"""What a route asks of its caller; "public" asks nothing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request.

    Args:
        id: the key's public part; "" without a key.
        tenant: whose key it is; "" for the default tenant.
        scopes: what it may do.
    """

    id: str
    tenant: str
    scopes: frozenset[str]

    def require(self, scope: RouteScope) -> None:
        """Pass when the caller may do this.

        Raises:
            ForbiddenError: it may not.
        """
        if scope != "public" and scope not in self.scopes:
            allowed = ", ".join(sorted(self.scopes)) or "none"
            raise ForbiddenError(f"This needs the scope {scope!r}; the key has: {allowed}.")


ANONYMOUS = Caller("", "", frozenset({"recognize", "explain", "metrics"}))
"""Whoever asks a service that has no keys: everything but administration."""
