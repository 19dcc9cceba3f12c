"""One inference, from checked pictures to output tensors; the same for both forms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clearsight.serve.access.caller import Caller
from clearsight.serve.answers import answers
from clearsight.serve.calls import Call, Picture
from clearsight.serve.errors import ExpiredError
from clearsight.serve.oip.answer import check_outputs, tensors_of
from clearsight.serve.oip.request import Parameters
from clearsight.serve.oip.tensors import Tensor
from clearsight.serve.service import Service


@dataclass(frozen=True, slots=True)
class Inference:
    """What a request asks for.

    Args:
        model, version: as in the address; no version leaves the choice to the service.
        pictures: encoded or decoded.
        parameters: of the request.
        outputs: names in the order asked for; empty for all.
        caller: who asks.
        id: of the request.
    """

    model: str
    version: str | None
    pictures: list[Picture]
    parameters: Parameters
    outputs: Sequence[str]
    caller: Caller
    id: str


@dataclass(frozen=True, slots=True)
class Inferred:
    """What came out.

    Args:
        model, version: what answered.
        tensors: the outputs asked for, with flat values.
    """

    model: str
    version: str
    tensors: list[Tensor]


async def infer(
    service: Service,
    asked: Inference,
    left: Callable[[], Awaitable[Any]],
    deadline_s: float | None = None,
) -> Inferred:
    """Answer one inference.

    Args:
        service: what answers.
        asked: the request.
        left: gives what ends when the client has left.
        deadline_s: what the transport itself knows of the client's patience, in seconds.

    Raises:
        RequestError, ImageError: the first picture's error is the request's.
    """
    limits = [s for s in (deadline_s, asked.parameters.timeout_s) if s is not None]
    if limits and min(limits) <= 0:
        raise ExpiredError("The deadline had passed when the request arrived.")
    model = service.models.resolve(asked.model, asked.version, asked.caller, asked.id)
    check_outputs(asked.outputs, model.task)
    call = Call(
        asked.pictures,
        asked.model,
        asked.version,
        asked.parameters.top,
        min(limits, default=None),
        asked.parameters.priority,
        asked.caller,
        asked.id,
    )
    ticket = service.submit(call)
    predictions = []
    for outcome in await answers(ticket, left()):
        if isinstance(outcome, BaseException):
            raise outcome
        predictions.append(outcome)
    tensors = tensors_of(predictions, model.task, asked.outputs)
    return Inferred(ticket.model.name, ticket.model.version, tensors)
