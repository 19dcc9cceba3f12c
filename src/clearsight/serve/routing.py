"""From an address to its route: one look-up for most, a few patterns for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from clearsight.serve.http_messages import Route

PART = re.compile(r"\{(\w+)\}")


class Router:
    """Finds routes.

    Args:
        routes: every route of the application.

    Raises:
        ValueError: two routes answer one method at one address.

    Example:
        >>> async def handler(request): ...
        >>> router = Router([Route("GET", "/v2/models/{model}", handler, "recognize")])
        >>> router.find("/v2/models/cats")[1]
        {'model': 'cats'}
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = by_path.setdefault(route.path, {})
            if route.method in methods:
                raise ValueError(f"Two routes answer {route.method} {route.path}.")
            methods[route.method] = route
        for path, methods in by_path.items():
            if PART.search(path):
                self._patterns.append((_pattern(path), methods))
            else:
                self._exact[path] = methods

    def find(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        """Return the routes at an address by method, and what stands for its "{...}" parts.

        Nothing stands there when the first is empty.
        """
        methods = self._exact.get(path)
        if methods is not None:
            return methods, {}
        for pattern, methods in self._patterns:
            found = pattern.fullmatch(path)
            if found:
                return methods, {name: unquote(value) for name, value in found.groupdict().items()}
        return {}, {}


def _pattern(path: str) -> re.Pattern[str]:
    pieces = PART.split(path)
    told = [re.escape(p) if i % 2 == 0 else f"(?P<{p}>[^/]+)" for i, p in enumerate(pieces)]
    return re.compile("".join(told))
