"""What an inference request asks for: pictures, parameters and outputs, checked within bounds."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clearsight.core.errors import nearest
from clearsight.serve.calls import Picture, Priority
from clearsight.serve.errors import (
    BodyTooLargeError,
    ImpossibleRequestError,
    MalformedRequestError,
)
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.oip.tensors import BYTES, Tensor, flat, split_elements, volume

DEFAULT_TOP = 5
HIGHEST = 1
MOST_PRIORITY = 2**32 - 1
MOST_TIMEOUT_US = 2**62
ID_LENGTH = 256
INPUTS = {"image": (BYTES, 1), "pixels": ("UINT8", 4)}
"""Datatype and number of axes of each input; a request has exactly one of them."""
CONTENT_TYPES = ("base64",)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of an inference request.

    Args:
        top: how many labels.
        priority: "normal" for the highest level and for none; "batch" for every lower one.
        timeout_s: seconds from now after which nobody needs the answer; None for the service's.
    """

    top: int = DEFAULT_TOP
    priority: Priority = "normal"
    timeout_s: float | None = None


def read_parameters(parameters: Mapping[str, Any], *others: str) -> Parameters:
    """Read the parameters of a request.

    Args:
        parameters: by name, as sent.
        others: names that the transport has read itself.

    Raises:
        MalformedRequestError: an unknown parameter, or a value of the wrong kind.
    """
    known = ("top", "priority", "timeout", *others)
    refuse_unknown(parameters, known, "request parameter")
    top = _whole(parameters, "top", -(2**31), 2**31 - 1)
    priority = _whole(parameters, "priority", 0, MOST_PRIORITY)
    timeout_us = _whole(parameters, "timeout", 0, MOST_TIMEOUT_US)
    return Parameters(
        top=DEFAULT_TOP if top is None else top,
        priority="batch" if priority is not None and priority > HIGHEST else "normal",
        timeout_s=timeout_us / 1e6 if timeout_us else None,
    )


def read_pictures(inputs: Sequence[Tensor], limits: ServiceLimits) -> list[Picture]:
    """Return the pictures of a request's one input tensor.

    Args:
        inputs: what was sent; `image` as BYTES (n,), or `pixels` as UINT8 (n, height, width, 3).
        limits: of the service.

    Raises:
        MalformedRequestError, ImpossibleRequestError, BodyTooLargeError: see their messages.
    """
    if len(inputs) != 1:
        raise ImpossibleRequestError(
            f"A request has exactly one input, got {len(inputs):,}. "
            f"Send one of: {', '.join(INPUTS)}."
        )
    tensor = inputs[0]
    if tensor.name not in INPUTS:
        name = tensor.name[:80]
        raise ImpossibleRequestError(f"There is no input {name!r}.{nearest(name, INPUTS)}")
    _check_kind(tensor)
    if not 1 <= tensor.shape[0] <= limits.pictures:
        raise ImpossibleRequestError(
            f"A request holds 1 to {limits.pictures} pictures, got {tensor.shape[0]:,}."
        )
    return _encoded(tensor) if tensor.datatype == BYTES else _decoded(tensor, limits)


def request_id(text: Any) -> str:
    """Return the client's own id of a request.

    Raises:
        MalformedRequestError: it is no text, or too long.
    """
    if not isinstance(text, str) or len(text) > ID_LENGTH:
        raise MalformedRequestError(f"'id' must be text of at most {ID_LENGTH} characters.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedRequestError("'id' holds half of a surrogate pair.") from error
    return text


def refuse_unknown(given: Mapping[str, Any], known: Sequence[str], kind: str) -> None:
    """Refuse names that mean nothing here.

    Raises:
        MalformedRequestError: the first one, with its neighbours.
    """
    for name in given:
        if name not in known:
            hint = nearest(name[:80], known) or " None is taken here."
            raise MalformedRequestError(f"Unknown {kind} {name[:80]!r}.{hint}")


def _check_kind(tensor: Tensor) -> None:
    datatype, axes = INPUTS[tensor.name]
    if tensor.datatype != datatype:
        raise ImpossibleRequestError(
            f"The input {tensor.name!r} has the datatype {datatype}, got {tensor.datatype[:20]!r}."
        )
    if len(tensor.shape) != axes:
        wanted = "[n]" if axes == 1 else "[n, height, width, 3]"
        raise ImpossibleRequestError(
            f"The input {tensor.name!r} has the shape {wanted}, got {list(tensor.shape)}."
        )


def _encoded(tensor: Tensor) -> list[Picture]:
    if tensor.raw is not None:
        return list(split_elements(tensor.raw, tensor.shape[0], tensor.name))
    values = flat(tensor.values, tensor.shape, tensor.name)
    return [value if isinstance(value, bytes) else _unbase64(value) for value in values]


def _unbase64(value: Any) -> bytes:
    if not isinstance(value, str):
        raise MalformedRequestError("In JSON an encoded picture is base64 text.")
    try:
        return b64decode(value.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise MalformedRequestError(
            "A picture is not valid base64 (RFC 4648, with padding, no line breaks). To send the "
            "bytes as they are, use binary data."
        ) from error


def _decoded(tensor: Tensor, limits: ServiceLimits) -> list[Picture]:
    _, height, width, channels = shape = tensor.shape
    if channels != 3 or not height or not width:
        raise ImpossibleRequestError(
            f"'pixels' has the shape [n, height, width, 3] (RGB), got {list(shape)}."
        )
    if height * width > limits.pixels:
        raise BodyTooLargeError(
            f"A picture has {height * width:,} pixels; at most {limits.pixels:,} are taken."
        )
    raw = tensor.raw
    if raw is None:
        raw = _as_bytes(flat(tensor.values, shape, tensor.name))
    if len(raw) != volume(shape):
        raise MalformedRequestError(
            f"'pixels' has {len(raw):,} bytes; its shape {list(shape)} needs {volume(shape):,}."
        )
    return list(np.frombuffer(raw, np.uint8).reshape(shape))


def _as_bytes(values: list[Any]) -> memoryview:
    try:
        if all(type(value) is int for value in values):
            return memoryview(bytes(values))
    except ValueError:
        pass
    raise MalformedRequestError("'pixels' must hold whole numbers from 0 to 255.")


def _whole(parameters: Mapping[str, Any], name: str, lowest: int, highest: int) -> int | None:
    value = parameters.get(name)
    if value is None and name not in parameters:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)  # JSON does not tell 1.0 from 1
    if type(value) is not int or not lowest <= value <= highest:
        raise MalformedRequestError(f"The parameter {name!r} must be a whole number in range.")
    return value
