"""The Open Inference Protocol's part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable

from clearsight.core.nouns import Task
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.oip.answer import outputs_of
from clearsight.serve.oip.json_body import MOST_TENSORS
from clearsight.serve.oip.request import DEFAULT_TOP, ID_LENGTH, MOST_PRIORITY, MOST_TIMEOUT_US
from clearsight.serve.openapi_parts import (
    BASE64_PICTURE,
    BOOLEAN,
    COUNT,
    INTEGER,
    JSON_TYPE,
    MODEL,
    TEXT,
    VERSION,
    Json,
    answer,
    array,
    closed,
    open_object,
    ref,
    refusals,
    some,
    titles,
)

MOST_LISTED = 32
INFER = (
    "One input: `image`, BYTES [n], encoded pictures as base64, or `pixels`, UINT8 "
    "[n, height, width, 3], nested or flat. With the binary tensor extension the header "
    "Inference-Header-Content-Length says how long the JSON is and tensors follow it as "
    "application/octet-stream; with 0 the whole body is one encoded picture. This document "
    "describes the JSON form of `image`."
)


def oip_operations() -> dict[tuple[str, str], Json]:
    """Return the protocol's operations by method and path."""
    server = _get("The server and its extensions", "OipServer")
    found = {
        ("GET", "/v2"): server,
        ("GET", "/v2/"): server,
        ("GET", "/v2/health/live"): _get("Is the process alive", "OipLive"),
        ("GET", "/v2/health/ready"): _get("Does it take requests", "OipReady", 503),
        ("GET", "/v2/models/stats"): _get("Counts and times of every model", "OipStatistics"),
        ("POST", "/v2/repository/index"): _post(
            "What is served, and its state", "OipIndexRequest", "OipIndex"
        ),
    }
    for verb, summary in (("load", "Bring a model into memory"), ("unload", "Free its memory")):
        path = f"/v2/repository/models/{{model}}/{verb}"
        found["POST", path] = _post(summary, f"Oip{verb.title()}Request", "OipNothing", 404, 503)
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found |= {
            ("GET", base): _get("Versions, inputs and outputs", "OipModel", 404),
            ("GET", f"{base}/ready"): _get("Does it answer", "OipModelReady", 404, 503),
            ("GET", f"{base}/config"): _get("What load generators ask", "OipConfig", 404),
            ("GET", f"{base}/stats"): _get("Counts and times", "OipStatistics", 404),
            ("POST", f"{base}/infer"): _infer(),
        }
    return found


def oip_schemas(limits: ServiceLimits, tasks: Iterable[Task]) -> Json:
    """Return the protocol's schemas by name.

    Args:
        limits: of the service.
        tasks: of what is served; each has outputs of its own.
    """
    outputs = sorted({name for task in tasks for name in outputs_of(task)})
    infer = _infer_schemas(limits, outputs)
    return _small_schemas() | _model_schemas() | infer | _statistics_schemas()


def _get(summary: str, schema: str, *codes: int) -> Json:
    responses = {"200": answer("Answered", ref(schema))}
    return {"summary": summary, "responses": responses | _errors(400, *codes)}


def _post(summary: str, request: str, schema: str, *codes: int) -> Json:
    return {
        **_get(summary, schema, 408, 413, *codes),
        "requestBody": {"required": False, "content": {JSON_TYPE: {"schema": ref(request)}}},
    }


def _infer() -> Json:
    found = answer("Output tensors", ref("OipAnswer"))
    found["content"]["application/octet-stream"] = {
        "schema": {"type": "string", "format": "binary"}
    }
    responses = {"200": found}
    return {
        "summary": "Recognize one picture or several",
        "description": INFER,
        "requestBody": {"required": True, "content": {JSON_TYPE: {"schema": ref("OipRequest")}}},
        "responses": responses | _errors(*titles()),
    }


def _errors(*codes: int) -> Json:
    return refusals(some(*codes), "OipError", JSON_TYPE)


def _small_schemas() -> Json:
    state = {"enum": ["READY", "UNAVAILABLE"]}
    row = closed(["name", "version", "state", "reason"], name=MODEL, version=TEXT, reason=TEXT)
    row["properties"]["state"] = state
    nothing = closed([])
    unload = closed([], unload_dependents={"const": False})
    return {
        "OipError": closed(["error"], error={"type": "string", "minLength": 1}),
        "OipServer": closed(
            ["name", "version", "extensions"], name=TEXT, version=TEXT, extensions=array(TEXT)
        ),
        "OipLive": closed(["live"], live=BOOLEAN),
        "OipReady": closed(["ready"], ready=BOOLEAN),
        "OipModelReady": closed(["name", "ready"], name=MODEL, ready=BOOLEAN),
        "OipIndexRequest": closed([], ready=BOOLEAN),
        "OipIndex": array(row),
        "OipNothing": nothing,
        "OipLoadRequest": closed([], parameters=_or_null(nothing)),
        "OipUnloadRequest": closed([], parameters=_or_null(unload)),
    }


def _model_schemas() -> Json:
    shape = array({"type": "integer", "minimum": -1})
    tensor = closed(["name", "datatype", "shape"], name=TEXT, datatype=TEXT, shape=shape)
    configured = closed(["name", "data_type", "dims"], name=TEXT, data_type=TEXT, dims=shape)
    return {
        "OipModel": closed(
            ["name", "versions", "platform", "inputs", "outputs"],
            name=MODEL,
            versions=array(TEXT),
            platform=TEXT,
            inputs=array(tensor),
            outputs=array(tensor),
        ),
        "OipConfig": closed(
            ["name", "platform", "backend", "max_batch_size", "input", "output"],
            name=MODEL,
            platform=TEXT,
            backend=TEXT,
            max_batch_size=COUNT,
            input=array(configured),
            output=array(configured),
        ),
    }


def _infer_schemas(limits: ServiceLimits, outputs: list[str]) -> Json:
    most = min(limits.pictures, MOST_LISTED)
    base64 = _or_null(closed([], content_type={"const": "base64"}))
    images = [
        closed(
            ["name", "datatype", "shape", "data"],
            name={"const": "image"},
            datatype={"const": "BYTES"},
            shape={"const": [count]},
            data=array(BASE64_PICTURE, minItems=count, maxItems=count),
            parameters=base64,
        )
        for count in range(1, most + 1)
    ]
    output = closed(
        ["name"], name={"enum": outputs}, parameters=_or_null(closed([], binary_data=BOOLEAN))
    )
    parameters = closed(
        [],
        top={"type": "integer", "minimum": 1, "maximum": limits.top, "default": DEFAULT_TOP},
        priority={"type": "integer", "minimum": 0, "maximum": MOST_PRIORITY},
        timeout={
            "type": "integer",
            "minimum": 0,
            "maximum": MOST_TIMEOUT_US,
            "description": "Microseconds; 0 for the service's own",
        },
        binary_data_output=BOOLEAN,
    )
    told = open_object(
        ["name", "datatype", "shape"],
        name={"enum": outputs},
        datatype=TEXT,
        shape=array(COUNT),
        data={"type": "array"},
        parameters={"type": "object"},
    )
    identity: Json = {"type": ["string", "null"], "maxLength": ID_LENGTH}
    return {
        "OipRequest": closed(
            ["inputs"],
            id=identity,
            parameters=_or_null(parameters),
            inputs=array({"oneOf": images}, minItems=1, maxItems=1),
            outputs={"type": ["array", "null"], "items": output, "maxItems": MOST_TENSORS},
        ),
        "OipAnswer": closed(
            ["model_name", "model_version", "id", "outputs"],
            model_name=MODEL,
            model_version=VERSION,
            id=TEXT,
            outputs=array(told),
        ),
    }


def _statistics_schemas() -> Json:
    duration = closed(["count", "ns"], count=COUNT, ns=COUNT)
    kinds = ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output"]
    kinds += ["cache_hit", "cache_miss"]
    computed = {name: duration for name in kinds if name.startswith("compute")}
    batch = closed(["batch_size", *computed], batch_size=INTEGER, **computed)
    one = closed(
        ["name", "version", "last_inference", "inference_count", "execution_count"],
        name=MODEL,
        version=TEXT,
        last_inference=COUNT,
        inference_count=COUNT,
        execution_count=COUNT,
        inference_stats=closed(kinds, **dict.fromkeys(kinds, duration)),
        batch_stats=array(batch),
    )
    return {"OipStatistics": closed(["model_stats"], model_stats=array(one))}


def _or_null(schema: Json) -> Json:
    return {"oneOf": [schema, {"type": "null"}]}
