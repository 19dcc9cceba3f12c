"""Protocols with one flaw each: the contract for protocols must catch every one."""

from __future__ import annotations

import asyncio
import json

from clearsight.core.errors import ImageError
from clearsight.serve.calls import Call
from clearsight.serve.http_messages import (
    Request,
    Response,
    Route,
    json_response,
    problem_response,
)
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.protocols.rest import Rest


class _Planted(Rest):
    """The real protocol with one flaw, put around its handler."""

    def routes(self) -> list[Route]:
        return [Route("POST", "/v1/recognize", self.flawed, "recognize")]

    async def flawed(self, request: Request) -> Response:
        return await self.recognize(request)


class WorstFirst(_Planted):
    """Gives the labels in the wrong order."""

    async def flawed(self, request: Request) -> Response:
        """Answer, labels reversed."""
        response = await self.recognize(request)
        value = json.loads(response.body)
        value.get("predictions", []).reverse()
        return json_response(value)


class Talkative(_Planted):
    """Tells the client what broke inside."""

    async def flawed(self, request: Request) -> Response:
        """Answer, internals in it."""
        try:
            return await self.recognize(request)
        except RuntimeError as error:
            return json_response({"status": 500, "detail": repr(error)}, 500)


class NeverFails(_Planted):
    """Answers 200 to everything."""

    async def flawed(self, request: Request) -> Response:
        """Answer 200."""
        try:
            return await self.recognize(request)
        except Exception as error:  # noqa: BLE001 - the planted flaw
            response = problem_response(request.id, error)
            response.status = 200
            return response


class Unbounded(_Planted):
    """Reads a body of any size."""

    async def flawed(self, request: Request) -> Response:
        """Answer without a bound."""
        request.limits = ServiceLimits()
        return await self.recognize(request)


class Brittle(_Planted):
    """Takes a broken picture for a broken service."""

    async def flawed(self, request: Request) -> Response:
        """Answer; ImageError becomes a 500."""
        try:
            return await self.recognize(request)
        except ImageError as error:
            raise RuntimeError from error


class Stubborn(_Planted):
    """Neither looks at the deadline nor at the client."""

    async def flawed(self, request: Request) -> Response:
        """Answer, come what may."""
        late = Call([await request.body()], top=3, deadline_s=3600)
        await asyncio.wrap_future(self.service.submit(late).futures[0])
        return json_response({})
