"""The Open Inference Protocol, version 2, over gRPC: package inference, GRPCInferenceService.

Importing this file needs no gRPC library; `serve/grpc_server.py` brings calls here.
Source: Open Inference Protocol, gRPC form; Triton's extensions for model configuration, statistics,
schedule policy and the model repository.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from clearsight.core.nouns import Prediction
from clearsight.serve.access.caller import RouteScope
from clearsight.serve.calls import Picture
from clearsight.serve.errors import (
    BodyTooLargeError,
    ImpossibleRequestError,
    MalformedRequestError,
    UnknownModelError,
)
from clearsight.serve.grpc_messages import GrpcHandler, GrpcRequest, Method
from clearsight.serve.models import Model
from clearsight.serve.oip import about
from clearsight.serve.oip.answer import prediction_of
from clearsight.serve.oip.infer import Inference, Inferred, infer
from clearsight.serve.oip.request import (
    read_parameters,
    read_pictures,
    refuse_unknown,
    request_id,
)
from clearsight.serve.oip.statistics import statistics_of
from clearsight.serve.oip.tensors import (
    BYTES,
    MOST_DIMENSIONS,
    MOST_VALUES,
    Tensor,
    checked_shape,
)
from clearsight.serve.oip.ways import CONTENTS, grpc_exchanges, grpc_values
from clearsight.serve.oip.wire import check_wire
from clearsight.serve.protocols import Answer, Exchange
from clearsight.serve.service import Service

OFF_LOOP_BYTES = 256 * 1024  # larger lists of values are read beside the event loop
MOST_TENSORS = 16
MOST_PARAMETERS = 32
MOST_ASKED_BYTES = 64 * 1024  # of a message that carries no tensors


class OipGrpc:
    """Tensors in and out by gRPC.

    Args:
        service: what answers.

    Raises:
        ModuleNotFoundError: protobuf is not installed.
    """

    transport = "grpc"

    def __init__(self, service: Service) -> None:
        from google.protobuf import json_format
        from google.protobuf.message import DecodeError

        from clearsight.serve.oip import messages

        self.service = service
        self.service_name = f"{messages.PACKAGE}.{messages.SERVICE}"
        self.file = messages.describe()
        self._message_class = messages.message_class
        self._methods = messages.METHODS
        self._fill: Callable[..., Any] = json_format.ParseDict
        self._broken = DecodeError
        statistics_of(service)  # they begin now

    def methods(self) -> list[Method]:
        """Return every method of the protocol."""
        answers: dict[str, tuple[Callable[..., Any], RouteScope]] = {
            "ServerLive": (self.live, "public"),
            "ServerReady": (self.ready, "public"),
            "ServerMetadata": (self.server, "public"),
            "ModelReady": (self.model_ready, "recognize"),
            "ModelMetadata": (self.metadata, "recognize"),
            "ModelConfig": (self.config, "recognize"),
            "ModelStatistics": (self.statistics, "metrics"),
            "RepositoryIndex": (self.index, "admin"),
            "RepositoryModelLoad": (self.load, "admin"),
            "RepositoryModelUnload": (self.unload, "admin"),
        }
        methods = [
            Method(f"/{self.service_name}/{name}", self._telling(name, answer), scope)
            for name, (answer, scope) in answers.items()
        ]
        return [*methods, Method(f"/{self.service_name}/ModelInfer", self.infer, "recognize")]

    async def live(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer ServerLive."""
        return {"live": True}

    async def ready(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer ServerReady."""
        return {"ready": self.service.ready}

    async def server(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer ServerMetadata."""
        return about.server()

    async def model_ready(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer ModelReady."""
        return {"ready": about.is_ready(self.service, self._model(message, request))}

    async def metadata(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer ModelMetadata."""
        return about.metadata(self.service, self._model(message, request), request.caller)

    async def config(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer ModelConfig."""
        return {"config": about.config(self._model(message, request))}

    async def statistics(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer ModelStatistics."""
        return about.statistics(self.service, request.caller, message.name, message.version)

    async def index(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer RepositoryIndex."""
        _no_repository(message)
        return {"models": about.index(self.service, request.caller, message.ready)}

    async def load(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer RepositoryModelLoad."""
        return await self._command(message, request, about.load)

    async def unload(self, message: Any, request: GrpcRequest) -> about.Json:
        """Answer RepositoryModelUnload."""
        return await self._command(message, request, about.unload)

    async def infer(self, request: GrpcRequest) -> bytes:
        """Answer ModelInfer; raw contents are answered raw, typed ones typed."""
        check_wire(request.message)
        message = self._parse("ModelInferRequest", request)
        asked_id = request_id(message.id)
        raw = bool(message.raw_input_contents)
        if raw or len(request.message) <= OFF_LOOP_BYTES:
            pictures = self._pictures(message)
        else:
            pictures = await asyncio.to_thread(self._pictures, message)
        asked = Inference(
            model=_named(message.model_name),
            version=message.model_version or None,
            pictures=pictures,
            parameters=read_parameters(_plain(message.parameters)),
            outputs=_outputs(message),
            caller=request.caller,
            id=request.id,
        )
        forever = asyncio.get_running_loop().create_future  # a client that leaves cancels this task
        inferred = await infer(self.service, asked, forever, request.deadline_s)
        answer = self._answer(inferred, asked_id or request.id, raw)
        content: bytes = answer.SerializeToString()
        return content

    @staticmethod
    def exchanges(encoded: bytes, top: int, model: str) -> dict[str, Exchange]:
        """Return, for every way a picture can be sent, the message that sends it."""
        return grpc_exchanges(encoded, top, model)

    @staticmethod
    def prediction(answer: Answer) -> Prediction:
        """Read the Prediction out of a successful answer to one of `exchanges`."""
        return prediction_of(grpc_values(answer))

    def _pictures(self, message: Any) -> list[Picture]:
        return read_pictures(_inputs(message), self.service.limits)

    def _telling(self, name: str, answer: Callable[..., Any]) -> GrpcHandler:
        async def handler(request: GrpcRequest) -> bytes:
            if len(request.message) > MOST_ASKED_BYTES:
                raise BodyTooLargeError(f"The message has more than {MOST_ASKED_BYTES:,} bytes.")
            message = self._parse(f"{name}Request", request)
            told = await answer(message, request)
            content: bytes = self._fill(
                told, self._message_class(f"{name}Response")()
            ).SerializeToString()
            return content

        return handler

    def _parse(self, name: str, request: GrpcRequest) -> Any:
        try:
            return self._message_class(name).FromString(request.message)
        except self._broken as error:
            raise MalformedRequestError(f"The message is no {name}.") from error

    def _answer(self, inferred: Inferred, answer_id: str, raw: bool) -> Any:
        answer = self._message_class("ModelInferResponse")(
            model_name=inferred.model, model_version=inferred.version, id=answer_id
        )
        for tensor in inferred.tensors:
            output = answer.outputs.add(
                name=tensor.name, datatype=tensor.datatype, shape=tensor.shape
            )
            if raw:
                answer.raw_output_contents.append(tensor.packed())
                continue
            values = tensor.values or ()
            typed = [v.encode("utf-8") for v in values] if tensor.datatype == BYTES else values
            getattr(output.contents, f"{CONTENTS[tensor.datatype]}_contents").extend(typed)
        return answer

    def _model(self, message: Any, request: GrpcRequest) -> Model:
        return self.service.models.resolve(
            _named(message.name), message.version or None, request.caller, request.id
        )

    async def _command(self, message: Any, request: GrpcRequest, command: Any) -> about.Json:
        _no_repository(message)
        name, parameters = _named(message.model_name), _plain(message.parameters)
        await asyncio.to_thread(command, self.service, request.caller, name, parameters)
        return {}


def _named(name: str) -> str:
    if not name:
        raise UnknownModelError(name, ())
    return name


def _no_repository(message: Any) -> None:
    if message.repository_name:
        raise ImpossibleRequestError("There is one repository. Leave 'repository_name' empty.")


def _plain(parameters: Any) -> dict[str, Any]:
    """Return a map of parameters as plain values; one without a value is None."""
    if len(parameters) > MOST_PARAMETERS:
        raise MalformedRequestError(f"{len(parameters):,} parameters are too many.")
    plain = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        plain[name] = None if choice is None else getattr(parameter, choice)
    return plain


def _inputs(message: Any) -> list[Tensor]:
    inputs, raws = message.inputs, message.raw_input_contents
    if len(inputs) > MOST_TENSORS:
        raise ImpossibleRequestError(f"{len(inputs):,} inputs are too many; send one.")
    if raws and len(raws) != len(inputs):
        raise MalformedRequestError(
            f"There are {len(inputs)} inputs and {len(raws):,} raw contents. Send one for each."
        )
    tensors = []
    for index, one in enumerate(inputs):
        name = one.name[:80]
        raw = memoryview(raws[index]) if raws else None
        parameters = _plain(one.parameters)
        refuse_unknown(parameters, ("binary_data_size",), "parameter of an input")
        if "binary_data_size" in parameters and parameters["binary_data_size"] != len(raw or b""):
            raise MalformedRequestError(
                f"'binary_data_size' of {name!r} is not the size of its raw contents."
            )
        values = _typed(one, raw is not None)
        shape = checked_shape(list(one.shape[: MOST_DIMENSIONS + 1]), name)
        tensors.append(Tensor(one.name, one.datatype, shape, raw, values))
    return tensors


def _typed(one: Any, raw: bool) -> list[Any] | None:
    name = one.name[:80]
    filled = [field.name for field, _ in one.contents.ListFields()]
    if raw:
        if filled:
            raise MalformedRequestError(f"{name!r} has raw and typed contents. Send one of them.")
        return None
    wanted = f"{CONTENTS.get(one.datatype, 'no')}_contents"
    if filled not in ([], [wanted]):
        raise MalformedRequestError(
            f"The typed contents of {name!r}, {one.datatype[:20]}, belong in {wanted!r}; "
            f"got {', '.join(filled)}."
        )
    values = getattr(one.contents, wanted, ())
    if len(values) > MOST_VALUES:
        raise BodyTooLargeError(
            f"{name!r} has more than {MOST_VALUES:,} typed values. Send raw contents, or encoded "
            "pictures."
        )
    return list(values)


def _outputs(message: Any) -> list[str]:
    if len(message.outputs) > MOST_TENSORS:
        raise ImpossibleRequestError(f"{len(message.outputs):,} outputs are too many.")
    for one in message.outputs:
        refuse_unknown(_plain(one.parameters), (), "parameter of an output")
    return [one.name for one in message.outputs]
