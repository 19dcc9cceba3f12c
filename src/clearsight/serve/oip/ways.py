"""The protocol from the client's side: every way to send a picture, and reading the answer.

For tests, documentation and clients that want no library of their own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from clearsight.core.errors import ImageError
from clearsight.data.decode import decode, read_header
from clearsight.serve.oip.tensors import BYTES, DTYPES, Content, join_elements, split_elements
from clearsight.serve.protocols import Answer, Exchange

METHOD = "/inference.GRPCInferenceService/ModelInfer"
HEADER_LENGTH = "inference-header-content-length"
CONTENTS = {"BOOL": "bool", "FP32": "fp32", "FP64": "fp64", BYTES: "bytes", "UINT8": "uint"}
"""Which field of InferTensorContents holds a datatype."""

Json = dict[str, Any]


def http_exchanges(encoded: bytes, top: int, target: str) -> dict[str, Exchange]:
    """Return, for every way a picture can be sent by HTTP, the request that sends it."""
    parameters = {"top": top}
    image: Json = {"name": "image", "datatype": BYTES, "shape": [1]}
    text = base64.b64encode(encoded).decode("ascii")
    exchanges = {
        "json": _json(target, {"parameters": parameters, "inputs": [image | {"data": [text]}]}),
        "json, binary answer": _json(
            target,
            {
                "parameters": parameters | {"binary_data_output": True},
                "inputs": [image | {"data": [text], "parameters": {"content_type": "base64"}}],
            },
        ),
        "binary": _binary(target, parameters, image, join_elements([encoded])),
    }
    if top == 5:  # a raw body has no place for parameters
        exchanges["raw"] = _http(target, "application/octet-stream", encoded, 0)
    for pixels in _pixels(encoded):
        tensor: Json = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
        for way, data in (("nested", pixels.tolist()), ("flat", pixels.ravel().tolist())):
            request = {"parameters": parameters, "inputs": [tensor | {"data": data}]}
            exchanges[f"{way} pixels"] = _json(target, request)
        exchanges["binary pixels"] = _binary(target, parameters, tensor, pixels.tobytes())
    return exchanges


def http_values(answer: Answer) -> dict[str, Content]:
    """Return the flat values of each output of an answer by HTTP, text for `label`."""
    length = int(answer.headers.get(HEADER_LENGTH, len(answer.body)))
    value, tail = json.loads(answer.body[:length]), memoryview(answer.body)[length:]
    values: dict[str, Content] = {}
    for output in value["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values[output["name"]] = output["data"]
        else:
            raw, tail = tail[:size], tail[size:]
            values[output["name"]] = _unpacked(output["datatype"], output["shape"], raw)
    return values


def grpc_exchanges(encoded: bytes, top: int, model: str) -> dict[str, Exchange]:
    """Return, for every way a picture can be sent by gRPC, the message that sends it."""
    image = {"name": "image", "datatype": BYTES, "shape": [1]}
    exchanges = {
        "raw contents": _grpc(model, top, image, join_elements([encoded])),
        "typed contents": _grpc(model, top, image | {"contents": {"bytes_contents": [encoded]}}),
    }
    for pixels in _pixels(encoded):
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
        typed = {"contents": {"uint_contents": pixels.ravel().tolist()}}
        exchanges["raw pixels"] = _grpc(model, top, tensor, pixels.tobytes())
        exchanges["typed pixels"] = _grpc(model, top, tensor | typed)
    return exchanges


def grpc_values(answer: Answer) -> dict[str, Content]:
    """Return the flat values of each output of an answer by gRPC, text for `label`."""
    from clearsight.serve.oip.messages import message_class

    response = message_class("ModelInferResponse").FromString(answer.body)
    values: dict[str, Content] = {}
    for index, output in enumerate(response.outputs):
        if response.raw_output_contents:
            raw = memoryview(response.raw_output_contents[index])
            values[output.name] = _unpacked(output.datatype, output.shape, raw)
        else:
            typed = getattr(output.contents, f"{CONTENTS[output.datatype]}_contents")
            is_text = output.datatype == BYTES
            values[output.name] = [v.decode("utf-8") for v in typed] if is_text else list(typed)
    return values


def _pixels(encoded: bytes) -> Iterator[Any]:
    """Yield the picture as (1, h, w, 3) uint8, where its pixels are the same to every decoder.

    Nothing where it cannot be decoded, and for a JPEG, which the service may scale while decoding.
    """
    try:
        if read_header(encoded).format != "jpeg":
            yield decode(encoded)[None]
    except ImageError:
        return


def _json(target: str, request: Json) -> Exchange:
    return Exchange("POST", target, "application/json", json.dumps(request).encode("utf-8"))


def _binary(target: str, parameters: Json, tensor: Json, raw: bytes) -> Exchange:
    request = {
        "parameters": parameters | {"binary_data_output": True},
        "inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}],
    }
    header = json.dumps(request).encode("utf-8")
    return _http(target, "application/octet-stream", header + raw, len(header))


def _http(target: str, kind: str, body: bytes, header_length: int) -> Exchange:
    return Exchange("POST", target, kind, body, ((HEADER_LENGTH, str(header_length)),))


def _grpc(model: str, top: int, tensor: Json, raw: bytes | None = None) -> Exchange:
    from clearsight.serve.oip.messages import message_class

    request = message_class("ModelInferRequest")(
        model_name=model,
        inputs=[tensor],
        parameters={"top": {"int64_param": top}},
        raw_input_contents=[] if raw is None else [raw],
    )
    return Exchange("POST", METHOD, "application/grpc", request.SerializeToString())


def _unpacked(datatype: str, shape: Any, raw: memoryview) -> Content:
    if datatype == BYTES:
        return [e.decode("utf-8") for e in split_elements(raw, int(np.prod(shape)), "label")]
    values: list[Any] = np.frombuffer(raw, DTYPES[datatype]).tolist()
    return values
