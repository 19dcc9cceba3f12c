"""The Open Inference Protocol, version 2, over HTTP: /v2, with the binary tensor extension.

Source: Open Inference Protocol, REST form; Triton's extensions for binary tensors, schedule policy,
model configuration, statistics and the model repository.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from clearsight.core.nouns import Prediction
from clearsight.serve.calls import Call, Picture
from clearsight.serve.errors import FormatRefusedError, MalformedRequestError, NotReadyError
from clearsight.serve.http_messages import (
    Handler,
    Request,
    Response,
    Route,
    json_response,
    problem_response,
)
from clearsight.serve.models import Model
from clearsight.serve.oip import about
from clearsight.serve.oip.answer import prediction_of
from clearsight.serve.oip.infer import Inference, infer
from clearsight.serve.oip.json_body import InferBody, read_infer, read_object, write_infer
from clearsight.serve.oip.request import read_parameters, read_pictures, refuse_unknown
from clearsight.serve.oip.statistics import statistics_of
from clearsight.serve.oip.ways import http_exchanges, http_values
from clearsight.serve.protocols import Answer, Exchange
from clearsight.serve.service import Service
from clearsight.serve.status import detail_of

OFF_LOOP_BYTES = 256 * 1024  # larger JSON is parsed beside the event loop
HEADER_LENGTH = b"inference-header-content-length"


class OipRest:
    """Tensors in and out by HTTP.

    Args:
        service: what answers.
    """

    transport = "http"

    def __init__(self, service: Service) -> None:
        self.service = service
        statistics_of(service)  # they begin now

    def routes(self) -> list[Route]:
        """Return every address of the protocol."""
        get, post = "GET", "POST"
        routes = [
            _route(get, "/v2", self.server, "public"),
            _route(get, "/v2/", self.server, "public"),
            _route(get, "/v2/health/live", self.live, "public"),
            _route(get, "/v2/health/ready", self.ready, "public"),
            _route(get, "/v2/models/stats", self.stats, "metrics"),
            _route(post, "/v2/repository/index", self.index, "admin"),
            _route(post, "/v2/repository/models/{model}/load", self.load, "admin"),
            _route(post, "/v2/repository/models/{model}/unload", self.unload, "admin"),
        ]
        for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                _route(get, base, self.metadata, "recognize"),
                _route(get, f"{base}/ready", self.model_ready, "recognize"),
                _route(get, f"{base}/config", self.config, "recognize"),
                _route(get, f"{base}/stats", self.stats, "metrics"),
                _route(post, f"{base}/infer", self.infer, "recognize"),
            ]
        return routes

    async def server(self, request: Request) -> Response:
        """Answer GET /v2: name, version and extensions."""
        request.options()
        return json_response(about.server())

    async def live(self, request: Request) -> Response:
        """Answer GET /v2/health/live."""
        request.options()
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """Answer GET /v2/health/ready."""
        request.options()
        if not self.service.ready:
            raise NotReadyError("The service is starting or stopping. Ask another instance.")
        return json_response({"ready": True})

    async def metadata(self, request: Request) -> Response:
        """Answer GET /v2/models/M: versions, inputs and outputs."""
        return json_response(about.metadata(self.service, self._model(request), request.caller))

    async def model_ready(self, request: Request) -> Response:
        """Answer GET /v2/models/M/ready."""
        model = self._model(request)
        if not about.is_ready(self.service, model):
            raise NotReadyError(f"The model {model.name!r} takes no requests at the moment.")
        return json_response({"name": model.name, "ready": True})

    async def config(self, request: Request) -> Response:
        """Answer GET /v2/models/M/config."""
        return json_response(about.config(self._model(request)))

    async def stats(self, request: Request) -> Response:
        """Answer GET /v2/models[/M[/versions/V]]/stats."""
        request.options()
        values = request.path_values
        model, version = values.get("model", ""), values.get("version", "")
        return json_response(about.statistics(self.service, request.caller, model, version))

    async def index(self, request: Request) -> Response:
        """Answer POST /v2/repository/index."""
        request.options()
        asked = await _small_object(request, "ready")
        ready = asked.get("ready", False)
        if not isinstance(ready, bool):
            raise MalformedRequestError("'ready' must be true or false.")
        return json_response(about.index(self.service, request.caller, ready))

    async def load(self, request: Request) -> Response:
        """Answer POST /v2/repository/models/M/load."""
        return await self._command(request, about.load)

    async def unload(self, request: Request) -> Response:
        """Answer POST /v2/repository/models/M/unload."""
        return await self._command(request, about.unload)

    async def infer(self, request: Request) -> Response:
        """Answer POST /v2/models/M/infer: JSON, binary tensors after JSON, or one raw picture."""
        request.options()
        encoding = request.header(b"content-encoding").strip().lower()
        if encoding not in ("", "identity"):
            raise FormatRefusedError(
                f"Content-Encoding {encoding[:40]!r} is not read here. Send the body unpacked."
            )
        values = request.path_values
        version = values.get("version")
        call = Call([], values["model"], version, caller=request.caller, id=request.id)
        self.service.admit(call)
        content = await request.body()
        header = request.header(HEADER_LENGTH).strip()
        if _json_length(content, header) > OFF_LOOP_BYTES:
            body, pictures = await asyncio.to_thread(self._read, content, header)
        else:
            body, pictures = self._read(content, header)
        inferred = await infer(self.service, self._asked(request, body, pictures), request.left)
        content, length = write_infer(inferred, body, body.id or request.id)
        if length is None:
            return Response(200, content)
        response = Response(200, content, "application/octet-stream")
        response.headers.append((HEADER_LENGTH, str(length).encode("ascii")))
        return response

    def _read(self, content: bytes, header: str) -> tuple[InferBody, list[Picture]]:
        body = read_infer(content, header)
        return body, read_pictures(body.inputs, self.service.limits)

    def _asked(self, request: Request, body: InferBody, pictures: list[Picture]) -> Inference:
        model, version = request.path_values["model"], request.path_values.get("version", "")
        if body.model not in ("", model) or (version and body.version not in ("", version)):
            raise MalformedRequestError(
                "The body names another model or version than the address. Name it once."
            )
        return Inference(
            model=model,
            version=version or body.version or None,
            pictures=pictures,
            parameters=read_parameters(body.parameters, "binary_data_output"),
            outputs=[name for name, _ in body.outputs],
            caller=request.caller,
            id=request.id,
        )

    def _model(self, request: Request) -> Model:
        request.options()
        values = request.path_values
        return self.service.models.resolve(
            values["model"], values.get("version"), request.caller, request.id
        )

    async def _command(self, request: Request, command: Any) -> Response:
        request.options()
        asked = await _small_object(request, "parameters")
        parameters = asked.get("parameters")
        if parameters is None:
            parameters = {}
        if not isinstance(parameters, dict):
            raise MalformedRequestError("'parameters' must be an object.")
        name = request.path_values["model"]
        await asyncio.to_thread(command, self.service, request.caller, name, parameters)
        return json_response({})

    @staticmethod
    def exchanges(encoded: bytes, top: int, model: str) -> dict[str, Exchange]:
        """Return, for every way a picture can be sent, the request that sends it."""
        return http_exchanges(encoded, top, f"/v2/models/{model}/infer")

    @staticmethod
    def prediction(answer: Answer) -> Prediction:
        """Read the Prediction out of a 200 answer to one of `exchanges`."""
        return prediction_of(http_values(answer))


def refuse(request_id: str, error: BaseException) -> Response:
    """Return the protocol's answer to an error: `{"error": "..."}`, never empty."""
    response = problem_response(request_id, error)
    told = json_response({"error": detail_of(error)}, response.status)
    told.headers = response.headers
    return told


def _json_length(content: bytes, header: str) -> int:
    """Return how long the JSON of a body says it is; all of it without a header."""
    told = header.isascii() and header.isdigit() and len(header) < 16
    return int(header) if told else len(content)


def _route(method: str, path: str, handler: Handler, scope: Any) -> Route:
    return Route(method, path, handler, scope, refuse)


async def _small_object(request: Request, *known: str) -> Mapping[str, Any]:
    content = await request.body()
    if not content.strip():
        return {}
    asked = read_object(content)
    refuse_unknown(asked, known, "field")
    return asked
