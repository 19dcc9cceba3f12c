"""The protocol's HTTP bodies: JSON, and binary tensors behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clearsight.serve.errors import ImpossibleRequestError, MalformedRequestError
from clearsight.serve.oip.infer import Inferred
from clearsight.serve.oip.request import CONTENT_TYPES, refuse_unknown, request_id
from clearsight.serve.oip.tensors import BYTES, Tensor, check_json_size, checked_shape

FIELDS = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
INPUT_FIELDS = ("name", "shape", "datatype", "parameters", "data")
INPUT_PARAMETERS = ("binary_data_size", "content_type")
OUTPUT_FIELDS = ("name", "parameters")
MOST_TENSORS = 16
MOST_SHOWN = 20

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class InferBody:
    """A request's body, read but not yet understood.

    Args:
        inputs: tensors as they came.
        parameters: of the request.
        outputs: name and whether it is wanted in binary form, in order.
        binary: whether an output is wanted in binary form where it does not say.
        id: the client's own; "" without.
        model, version: where the body names them too; "" where not.
    """

    inputs: list[Tensor]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: list[tuple[str, bool]] = field(default_factory=list)
    binary: bool = False
    id: str = ""
    model: str = ""
    version: str = ""


def read_infer(content: bytes, header_length: str) -> InferBody:
    """Read the body of an inference request.

    Args:
        content: the body.
        header_length: the header Inference-Header-Content-Length: empty where all of the body is
            JSON, "0" where all of it is one encoded picture, else the length of the JSON before
            the binary tensors.

    Raises:
        MalformedRequestError, ImpossibleRequestError, BodyTooLargeError: see their messages.
    """
    text = header_length.strip()
    if text == "0":
        return InferBody([Tensor("image", BYTES, (1,), values=[content])], binary=True)
    length = len(content)
    if text:
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise MalformedRequestError(
                f"Inference-Header-Content-Length is no length: {text[:MOST_SHOWN]!r}."
            )
        length = int(text)
        if length > len(content):
            raise MalformedRequestError(
                f"Inference-Header-Content-Length is {length:,}; the body has {len(content):,} "
                "bytes. It is the length of the JSON alone."
            )
    try:
        value = read_object(content[:length])
    except MalformedRequestError as error:
        told = f" Inference-Header-Content-Length says that it is {length:,} bytes." if text else ""
        raise MalformedRequestError(f"{error}{told}") from error
    return _read(value, memoryview(content)[length:])


def read_object(content: bytes) -> Json:
    """Parse a JSON object within bounds of memory and depth.

    Raises:
        MalformedRequestError: it is none.
        BodyTooLargeError: it holds too many values.
    """
    check_json_size(content)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedRequestError("The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise MalformedRequestError("The JSON must be an object.")
    return value


def write_infer(inferred: Inferred, body: InferBody, answer_id: str) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON where binary tensors follow.

    Args:
        inferred: what came out.
        body: the request's, which says what is wanted in binary form.
        answer_id: the id that the answer carries.
    """
    forms = [binary for _, binary in body.outputs] or [body.binary] * len(inferred.tensors)
    told: list[Json] = []
    blobs: list[bytes] = []
    for tensor, binary in zip(inferred.tensors, forms, strict=True):
        one: Json = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if binary:
            blobs.append(tensor.packed())
            one["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            one["data"] = list(tensor.values or ())
        told.append(one)
    answer = {
        "model_name": inferred.model,
        "model_version": inferred.version,
        "id": answer_id,
        "outputs": told,
    }
    text = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    header = text.encode("utf-8")
    return b"".join([header, *blobs]), len(header) if blobs else None


def _read(value: Json, tail: memoryview) -> InferBody:
    refuse_unknown(value, FIELDS, "field of the request")
    parameters = _parameters(value, "the request")
    binary = _flag(parameters, "binary_data_output", False)
    inputs = _tensors(value, "inputs", required=True)
    outputs = _tensors(value, "outputs", required=False)
    return InferBody(
        inputs=_inputs(inputs, tail),
        parameters=parameters,
        outputs=[_output(one, binary) for one in outputs],
        binary=binary,
        id=_text(value, "id"),
        model=_text(value, "model_name"),
        version=_text(value, "model_version"),
    )


def _tensors(value: Json, key: str, required: bool) -> list[Json]:
    found = value.get(key)
    if found is None and not required:
        return []
    if not isinstance(found, list):
        raise MalformedRequestError(f"{key!r} must be a list of tensors.")
    if len(found) > MOST_TENSORS:
        raise ImpossibleRequestError(f"{len(found):,} {key} are too many; at most {MOST_TENSORS}.")
    for one in found:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise MalformedRequestError(f"Each of {key!r} must be an object with a 'name'.")
    return found


def _inputs(inputs: list[Json], tail: memoryview) -> list[Tensor]:
    tensors = []
    for one in inputs:
        name = one["name"][:80]
        refuse_unknown(one, INPUT_FIELDS, "field of an input")
        parameters = _parameters(one, f"the input {name!r}")
        refuse_unknown(parameters, INPUT_PARAMETERS, "parameter of an input")
        if not isinstance(one.get("datatype"), str):
            raise MalformedRequestError(f"The input {name!r} has no 'datatype'.")
        shape = checked_shape(one.get("shape"), name)
        raw = None
        if "binary_data_size" in parameters:
            raw, tail = _cut(parameters["binary_data_size"], tail, name)
        _check_content(one, parameters, raw is not None)
        tensors.append(Tensor(one["name"], one["datatype"], shape, raw, one.get("data")))
    if len(tail):
        raise MalformedRequestError(f"{len(tail):,} bytes after the JSON belong to no input.")
    return tensors


def _cut(size: Any, tail: memoryview, name: str) -> tuple[memoryview, memoryview]:
    if type(size) is not int or size < 0:
        raise MalformedRequestError(f"'binary_data_size' of {name!r} must be a whole number.")
    if size > len(tail):
        raise MalformedRequestError(
            f"'binary_data_size' of {name!r} is {size:,}, and {len(tail):,} bytes are left after "
            "the JSON. The header Inference-Header-Content-Length is the length of the JSON."
        )
    return tail[:size], tail[size:]


def _check_content(one: Json, parameters: Mapping[str, Any], binary: bool) -> None:
    name = one["name"][:80]
    if binary == (one.get("data") is not None):
        raise MalformedRequestError(
            f"The input {name!r} must have either 'data' or the parameter 'binary_data_size'."
        )
    content_type = parameters.get("content_type", CONTENT_TYPES[0])
    if content_type not in CONTENT_TYPES or (
        "content_type" in parameters and (binary or one["datatype"] != BYTES)
    ):
        raise MalformedRequestError(
            f"'content_type' of {name!r} can only be 'base64', of BYTES in JSON."
        )


def _output(one: Json, binary: bool) -> tuple[str, bool]:
    refuse_unknown(one, OUTPUT_FIELDS, "field of an output")
    parameters = _parameters(one, f"the output {one['name'][:80]!r}")
    refuse_unknown(parameters, ("binary_data",), "parameter of an output")
    return one["name"], _flag(parameters, "binary_data", binary)


def _parameters(value: Json, what: str) -> Mapping[str, Any]:
    found = value.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise MalformedRequestError(f"'parameters' of {what} must be an object.")
    return found


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise MalformedRequestError(f"The parameter {name!r} must be true or false.")
    return value


def _text(value: Json, key: str) -> str:
    found = value.get(key)
    return "" if found is None else request_id(found)
