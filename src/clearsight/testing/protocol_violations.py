"""Protocols with one flaw each: the contract for protocols must catch every one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from clearsight.core.errors import ImageError
from clearsight.serve.calls import Call
from clearsight.serve.errors import ModelFailedError
from clearsight.serve.grpc_messages import GrpcRequest, Method
from clearsight.serve.http_messages import (
    Request,
    Response,
    Route,
    json_response,
    problem_response,
)
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.protocols.oip_grpc import OipGrpc
from clearsight.serve.protocols.rest import Rest
from clearsight.serve.service import Service


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
    """Does not notice that the client left."""

    async def flawed(self, request: Request) -> Response:
        """Answer, come what may."""
        await _come_what_may(self.service, await request.body())
        return json_response({})


class Open(_Planted):
    """Asks nobody for a key."""

    def routes(self) -> list[Route]:
        """Return a route that everybody may use."""
        return [Route("POST", "/v1/recognize", self.recognize, "public")]


class _PlantedGrpc(OipGrpc):
    """The real gRPC protocol with one flaw, put around its handler."""

    def methods(self) -> list[Method]:
        """Return the one method that has the flaw."""
        path = f"/{self.service_name}/ModelInfer"
        return [Method(path, self.flawed, "recognize")]

    async def flawed(self, request: GrpcRequest) -> bytes:
        return await self.infer(request)


class GrpcWorstFirst(_PlantedGrpc):
    """Gives the labels in the wrong order."""

    async def flawed(self, request: GrpcRequest) -> bytes:
        """Answer, each tensor backwards where it holds several."""
        answer = self._message_class("ModelInferResponse").FromString(await self.infer(request))
        if answer.raw_output_contents:
            answer.raw_output_contents.reverse()
        for output in answer.outputs:
            output.contents.bytes_contents.reverse()
        content: bytes = answer.SerializeToString()
        return content


class GrpcTalkative(_PlantedGrpc):
    """Tells the client what broke inside."""

    async def flawed(self, request: GrpcRequest) -> bytes:
        """Answer, internals in it."""
        try:
            return await self.infer(request)
        except RuntimeError as error:
            raise ModelFailedError(repr(error)) from error


class GrpcNeverFails(_PlantedGrpc):
    """Answers OK to everything."""

    async def flawed(self, request: GrpcRequest) -> bytes:
        """Answer OK."""
        try:
            return await self.infer(request)
        except Exception:  # noqa: BLE001 - the planted flaw
            return b""


class GrpcBrittle(_PlantedGrpc):
    """Takes a broken picture for a broken service."""

    async def flawed(self, request: GrpcRequest) -> bytes:
        """Answer; ImageError becomes INTERNAL."""
        try:
            return await self.infer(request)
        except ImageError as error:
            raise RuntimeError from error


class GrpcStubborn(_PlantedGrpc):
    """Does not notice that the client left."""

    async def flawed(self, request: GrpcRequest) -> bytes:
        """Answer, come what may."""
        message = self._message_class("ModelInferRequest").FromString(request.message)
        encoded = message.raw_input_contents[0][4:]
        await asyncio.shield(_come_what_may(self.service, encoded))
        return b""


class GrpcOpen(_PlantedGrpc):
    """Asks nobody for a key."""

    def methods(self) -> list[Method]:
        """Return a method that everybody may use."""
        return [Method(f"/{self.service_name}/ModelInfer", self.infer, "public")]


async def _come_what_may(service: Service, encoded: bytes) -> None:
    await asyncio.wrap_future(service.submit(Call([encoded], top=3)).futures[0])


VIOLATIONS: dict[str, Any] = {
    "check_every_way_gives_the_same_prediction": WorstFirst,
    "check_every_error_is_mapped": Talkative,
    "check_keys_are_asked_for": Open,
    "check_bad_pictures_are_refused": NeverFails,
    "check_oversize_is_refused": Unbounded,
    "check_malformed_is_refused": Brittle,
    "check_late_never_reaches_the_model": NeverFails,
    "check_cancelled_never_reaches_the_model": Stubborn,
    "check_no_number_is_no_answer": NeverFails,
}
"""One violation a clause, over HTTP."""
GRPC_VIOLATIONS: dict[str, Any] = {
    "check_every_way_gives_the_same_prediction": GrpcWorstFirst,
    "check_every_error_is_mapped": GrpcTalkative,
    "check_keys_are_asked_for": GrpcOpen,
    "check_bad_pictures_are_refused": GrpcNeverFails,
    "check_malformed_is_refused": GrpcBrittle,
    "check_late_never_reaches_the_model": GrpcNeverFails,
    "check_cancelled_never_reaches_the_model": GrpcStubborn,
    "check_no_number_is_no_answer": GrpcNeverFails,
}
"""The same over gRPC; the size of a message is bounded before any protocol sees it."""
