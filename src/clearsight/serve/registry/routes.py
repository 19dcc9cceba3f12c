"""Administration of the registry over HTTP: look, promote, roll back; never without a key.

Bundles are added on the machine of the store alone (`clearsight registry add`): no request brings a
model or names a place to fetch one from.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from clearsight.core.errors import GateError, UnknownKeyError, UsageError, nearest
from clearsight.serve.access.caller import Caller
from clearsight.serve.errors import (
    ImpossibleRequestError,
    MalformedRequestError,
    RefusedChangeError,
    UnknownModelError,
    UnknownVersionError,
)
from clearsight.serve.http_messages import Request, Response, Route, json_response
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.registry.records import ModelRecord

BODY_BYTES = 16 * 1024
HISTORY = 100
KINDS: dict[str, type | tuple[type, ...]] = {
    "version": int,
    "share": (int, float),
    "alias": str,
    "why": str,
}


class RegistryRoutes:
    """The addresses of a registry's administration.

    Args:
        registry: what is administered.
        follow: makes the service that is asked follow a change before it is answered; others
            follow by themselves.
    """

    def __init__(self, registry: ModelRegistry, follow: Callable[[], object]) -> None:
        self._registry, self._follow = registry, follow

    def routes(self) -> list[Route]:
        """Return its routes; all need the scope "admin"."""
        change = "/v1/registry/{model}/"
        return [
            Route("GET", "/v1/registry", self.models, "admin"),
            Route("GET", change + "history", self.history, "admin"),
            Route("POST", change + "promote", self.promote, "admin"),
            Route("POST", change + "rollback", self.rollback, "admin"),
            Route("POST", change + "canary", self.canary, "admin"),
            Route("POST", change + "shadow", self.shadow, "admin"),
            Route("POST", change + "stop", self.stop, "admin"),
        ]

    async def models(self, request: Request) -> Response:
        """Answer GET /v1/registry: every model of the caller's tenant, with versions, aliases."""
        request.options()
        found = await asyncio.to_thread(self._registry.models)
        theirs = [_about(model) for model in found if _may_change(model, request.caller)]
        return json_response({"models": theirs})

    async def history(self, request: Request) -> Response:
        """Answer GET /v1/registry/{model}/history: the newest changes, newest first."""
        request.options()
        model = await asyncio.to_thread(self._model, request)
        changes = await asyncio.to_thread(self._registry.history, model.name, HISTORY)
        return json_response({"changes": [asdict(change) for change in changes]})

    async def promote(self, request: Request) -> Response:
        """Answer POST .../promote with {"version": 2, "why": "..."}."""
        told = await _told(request, "version")

        def change(name: str, who: str) -> Any:
            return self._registry.promote(name, told["version"], who=who, why=told["why"])

        return await self._changed(request, change)

    async def rollback(self, request: Request) -> Response:
        """Answer POST .../rollback with {"why": "..."}: the version before answers again."""
        told = await _told(request)

        def change(name: str, who: str) -> Any:
            return self._registry.rollback(name, who=who, why=told["why"])

        return await self._changed(request, change)

    async def canary(self, request: Request) -> Response:
        """Answer POST .../canary with {"version": 2, "share": 0.1, "why": "..."}."""
        told = await _told(request, "version", "share")

        def change(name: str, who: str) -> Any:
            share = float(told["share"])
            return self._registry.canary(name, told["version"], share, who=who, why=told["why"])

        return await self._changed(request, change)

    async def shadow(self, request: Request) -> Response:
        """Answer POST .../shadow with {"version": 2, "why": "..."}."""
        told = await _told(request, "version")

        def change(name: str, who: str) -> Any:
            return self._registry.shadow(name, told["version"], who=who, why=told["why"])

        return await self._changed(request, change)

    async def stop(self, request: Request) -> Response:
        """Answer POST .../stop with {"alias": "canary", "why": "..."}."""
        told = await _told(request, "alias")

        def change(name: str, who: str) -> Any:
            return self._registry.stop(name, told["alias"], who=who, why=told["why"])

        return await self._changed(request, change)

    async def _changed(self, request: Request, change: Callable[[str, str], Any]) -> Response:
        """Make a change beside the event loop, and answer with the model as it is then."""
        request.options()
        model = await asyncio.to_thread(self._model, request)
        who = f"key {request.caller.id}"
        try:
            await asyncio.to_thread(change, model.name, who)
        except GateError as error:
            raise RefusedChangeError(str(error)) from error
        except UnknownKeyError as error:
            asked = [str(version.version) for version in model.versions]
            raise UnknownVersionError(model.name, error.key, asked) from error
        except UsageError as error:
            raise ImpossibleRequestError(str(error)) from error
        await asyncio.to_thread(self._follow)
        after = await asyncio.to_thread(self._registry.model, model.name)
        return json_response(_about(after))

    def _model(self, request: Request) -> ModelRecord:
        name = request.path_values["model"]
        theirs = {m.name: m for m in self._registry.models() if _may_change(m, request.caller)}
        if name not in theirs:
            raise UnknownModelError(name, theirs)
        return theirs[name]


async def _told(request: Request, *needed: str) -> dict[str, Any]:
    """Read the JSON object of a change: what is needed, and perhaps why."""
    body = await request.body()
    if len(body) > BODY_BYTES:
        raise MalformedRequestError(f"A change has at most {BODY_BYTES} bytes.")
    try:
        told = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise MalformedRequestError("The body is not valid JSON.") from error
    if not isinstance(told, dict):
        raise MalformedRequestError("The body must be a JSON object.")
    allowed = (*needed, "why")
    for name, value in told.items():
        if name not in allowed:
            raise MalformedRequestError(
                f"Unknown field {name[:80]!r}.{nearest(name[:80], allowed)}"
            )
        if isinstance(value, float) and value.is_integer() and name == "version":
            value = told[name] = int(value)  # JSON does not tell 2.0 from 2
        if isinstance(value, bool) or not isinstance(value, KINDS[name]):
            raise MalformedRequestError(f"The field {name!r} has the wrong type.")
    if missing := [name for name in needed if name not in told]:
        raise MalformedRequestError(f"The field {missing[0]!r} is missing.")
    return {"why": "", **told}


def _may_change(model: ModelRecord, caller: Caller) -> bool:
    """Administrators of the default tenant see its models, the others' their own alone."""
    return model.tenant == caller.tenant


def _about(model: ModelRecord) -> dict[str, Any]:
    return {
        "name": model.name,
        "tenant": model.tenant,
        "aliases": dict(model.aliases),
        "canary_share": model.canary_share,
        "previous": model.previous,
        "versions": [
            {
                "version": version.version,
                "bundle_id": version.bundle_id,
                "family": version.family,
                "classes": len(version.signature.classes),
                "size_bytes": version.size_bytes,
                "note": version.note,
                "added_utc": version.added_utc,
                "added_by": version.added_by,
            }
            for version in model.versions
        ],
    }
