"""The OpenAPI 3.1 document, built from the same tables that the code runs on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clearsight.core.version import __version__
from clearsight.data.header import FORMATS
from clearsight.serve.calls import PRIORITIES
from clearsight.serve.http_messages import Route
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.openapi_explain import explain_operations, explain_schemas
from clearsight.serve.openapi_oip import oip_operations, oip_schemas
from clearsight.serve.openapi_parts import (
    BASE64_PICTURE,
    BOOLEAN,
    INTEGER,
    JSON_TYPE,
    MODEL,
    PATH_PARTS,
    PRINTABLE,
    PROBLEM_TYPE,
    TEXT,
    VERSION,
    Json,
    answer,
    array,
    closed,
    open_object,
    query,
    ref,
    refusals,
    some,
    titles,
)
from clearsight.serve.openapi_registry import registry_operations, registry_schemas
from clearsight.serve.routing import PART
from clearsight.serve.service import Service
from clearsight.serve.state import needs_keys

REFERENCE = re.compile(r"#/components/schemas/(\w+)")
UNDOCUMENTED = (".js", ".css", ".svg")  # files of the page
KEY_CODES = (401, 403, 429, 503)  # what a route that asks for a key can answer besides


def openapi(service: Service, routes: Sequence[Route]) -> Json:
    """Return the document that describes what this service does, its limits included.

    Args:
        service: whose limits hold.
        routes: what it answers; a route of somebody else's protocol is named without details.
    """
    one = len(service.models.names()) == 1
    operations = _operations(service) | oip_operations() | registry_operations()
    operations |= explain_operations(one)
    keys = needs_keys(service.access)
    tasks = {model.task for model in service.models.every()}
    paths: dict[str, Json] = {}
    for route in routes:
        if not route.path.endswith(UNDOCUMENTED):
            told = operations.get((route.method, route.path)) or _unknown(route)
            paths.setdefault(route.path, {})[route.method.lower()] = _complete(route, told, keys)
    schemas = _schemas(service.limits) | oip_schemas(service.limits, tasks)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clearsight",
            "version": __version__,
            "description": (
                "Recognizes pictures. Errors are problem+json (RFC 9457) under /v1 and "
                '{"error": "..."} under /v2.'
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _used(paths, schemas),
            "headers": {
                "X-Request-Id": {
                    "description": "The request's id: the client's own, else a new one",
                    "schema": TEXT,
                }
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _used(paths: Json, schemas: Json) -> Json:
    """Return the schemas that the paths need, by themselves or through another."""
    used: Json = {}
    pending = REFERENCE.findall(str(paths))
    while pending:
        name = pending.pop()
        if name not in used:
            used[name] = schemas[name]
            pending += REFERENCE.findall(str(schemas[name]))
    return dict(sorted(used.items()))


def _complete(route: Route, operation: Json, keys: bool) -> Json:
    """Return an operation with the parts of its address and what its scope brings."""
    parts = [
        {"name": name, "in": "path", "required": True, "schema": PATH_PARTS.get(name, TEXT)}
        for name in PART.findall(route.path)
    ]
    told = {**operation, "parameters": parts + operation.get("parameters", [])}
    if route.scope != "public":
        anybody: list[Json] = [] if keys or route.scope == "admin" else [{}]
        told["security"] = [*anybody, {"bearer": []}, {"key": []}]
        schema, kind = ("OipError", JSON_TYPE) if _is_oip(route) else ("Problem", PROBLEM_TYPE)
        refused = refusals(some(*KEY_CODES), schema, kind)
        told["responses"] = {**refused, **told["responses"]}
    return told


def _is_oip(route: Route) -> bool:
    return route.path == "/v2" or route.path.startswith("/v2/")


def _unknown(route: Route) -> Json:
    return {
        "summary": f"{route.method} {route.path}",
        "responses": {"default": {"description": "Answered"}},
    }


def _operations(service: Service) -> dict[tuple[str, str], Json]:
    limits = service.limits
    one = len(service.models.names()) == 1
    return {
        ("POST", "/v1/recognize"): _recognize(limits, one),
        ("GET", "/v1/models"): _get("What is served", "Models"),
        ("GET", "/v1/stats"): _get("Live figures of every model", "Anything"),
        ("GET", "/v1/models/{name}/drift"): {
            **_get("How far answers lie from the reference", "Anything", 404),
            "parameters": [query("version", VERSION, "Which version; production where not given")],
        },
        ("POST", "/v1/feedback"): _feedback(),
        ("GET", "/livez"): _get("Is the process alive", "State"),
        ("GET", "/readyz"): _readyz(),
        ("GET", "/metrics"): _text("Prometheus metrics", "text/plain", refuses=True),
        ("GET", "/openapi.json"): _get("This document", "Anything"),
        ("GET", "/"): _text("The page", "text/html"),
    }


def _recognize(limits: ServiceLimits, one: bool) -> Json:
    either: Json = {"oneOf": [ref("Answer"), ref("ListAnswer")]}
    return {
        "operationId": "recognize",
        "summary": "Recognize one picture or several",
        "description": (
            "Send the encoded picture itself, a multipart form of files, or JSON with base64. "
            "The format is found from the bytes, whatever the Content-Type says. One picture "
            "gives an Answer; several files, or `images`, give a ListAnswer in the same order, "
            "in which a picture that cannot be used has an `error`. When none can be used, the "
            "answer is the first one's problem."
        ),
        "parameters": _parameters(limits, one),
        "requestBody": {"required": True, "content": _bodies(limits)},
        "responses": {
            "200": answer("Labels, best first", either),
            **refusals(titles(), "Problem", PROBLEM_TYPE),
        },
    }


def _parameters(limits: ServiceLimits, one: bool) -> list[Json]:
    top: Json = {"type": "integer", "minimum": 1, "maximum": limits.top, "default": 5}
    seconds: Json = {"type": "number", "exclusiveMinimum": 0}
    return [
        query("top", top, "How many labels; more than the model's classes gives all"),
        query("model", MODEL, "Which model; may be left out where one is served", not one),
        query("version", VERSION, "Which version; production, or the canary, where not given"),
        query("priority", {"enum": list(PRIORITIES)}, "batch runs when nothing normal waits"),
        query("deadline", seconds, "Seconds after which nobody needs the answer"),
    ]


def _bodies(limits: ServiceLimits) -> Json:
    raw: Json = {"schema": {"type": "string", "format": "binary"}}
    file: Json = {"type": "string", "contentMediaType": "application/octet-stream"}
    files = array(file, minItems=1, maxItems=limits.pictures)
    return {
        **{f"image/{name}": raw for name in FORMATS},
        "application/octet-stream": raw,
        "multipart/form-data": {"schema": closed(["image"], image=files)},
        JSON_TYPE: {"schema": ref("Upload")},
    }


def _feedback() -> Json:
    return {
        "summary": "Say what a picture really shows",
        "requestBody": {"required": True, "content": {JSON_TYPE: {"schema": ref("Correction")}}},
        "responses": {
            "200": answer("Kept", ref("Anything")),
            **refusals(titles(), "Problem", PROBLEM_TYPE),
        },
    }


def _get(summary: str, schema: str, *codes: int) -> Json:
    return {
        "summary": summary,
        "responses": {
            "200": answer("Answered", ref(schema)),
            **refusals(some(400, *codes), "Problem", PROBLEM_TYPE),
        },
    }


def _readyz() -> Json:
    told = _get("Does it take requests", "State")
    told["responses"]["503"] = answer("Not so", ref("State"))
    return told


def _text(summary: str, kind: str, refuses: bool = False) -> Json:
    responses = {"200": answer("Answered", TEXT, kind)}
    if refuses:
        responses |= refusals(some(400), "Problem", PROBLEM_TYPE)
    return {"summary": summary, "responses": responses}


def _schemas(limits: ServiceLimits) -> Json:
    problem = ["type", "title", "status", "detail", "id"]
    kinds = dict.fromkeys(problem, TEXT) | {"status": INTEGER}
    many = array(BASE64_PICTURE, minItems=1, maxItems=limits.pictures)
    upload = [closed(["image"], image=BASE64_PICTURE), closed(["images"], images=many)]
    return {
        "Upload": {"oneOf": upload},
        **_answer_schemas(),
        "Problem": open_object(problem, **kinds),
        "Models": closed(["models"], models=array(_model_schema())),
        "State": closed(["status"], status={"enum": ["live", "ready", "stopping"]}),
        "Correction": _correction(),
        **registry_schemas(),
        **explain_schemas(),
        "Anything": {"type": "object"},
    }


def _correction() -> Json:
    label: Json = {"type": "string", "format": PRINTABLE, "minLength": 1, "maxLength": 200}
    told = closed(["label"], label=label, request=TEXT, image=BASE64_PICTURE)
    return {**told, "anyOf": [{"required": ["request"]}, {"required": ["image"]}]}


def _answer_schemas() -> Json:
    score: Json = {"type": "number", "minimum": 0, "maximum": 1}
    predictions = array(closed(["label", "score"], label=TEXT, score=score), minItems=1)
    accepted = BOOLEAN | {
        "description": "False when the picture is less familiar than the model's threshold"
    }
    likely = array(TEXT) | {
        "description": "Only of a model with conformal sets: the true class is among these as "
        "often as its level says; may be empty"
    }
    present = array(TEXT) | {
        "description": "Only of a multi-label model: the classes that are in the picture"
    }
    rank: Json = {
        "type": "number",
        "minimum": 0,
        "description": "Only of an ordinal model: the mean position on its scale",
    }
    found: Json = {"predictions": predictions, "accepted": accepted, "labels": present}
    found |= {"rank": rank, "set": likely}
    name: Json = {"type": ["string", "null"]}
    result = closed(["name"], name=name, **found, error=ref("Problem"))
    named: Json = {"id": TEXT, "model": TEXT, "version": TEXT}
    return {
        "Answer": closed([*named, "predictions", "accepted"], **named, **found),
        "ListAnswer": closed([*named, "results"], **named, results=array(result)),
    }


def _model_schema() -> Json:
    state = open_object(["version", "roles", "state"], version=TEXT, roles=array(TEXT), state=TEXT)
    size = closed(["height", "width", "channels"], height=INTEGER, width=INTEGER, channels=INTEGER)
    return closed(
        ["name", "version", "task", "classes", "input", "versions"],
        name=TEXT,
        version=TEXT,
        task={"enum": ["single-label", "multi-label", "ordinal"]},
        classes=array(TEXT),
        input=size,
        versions=array(state),
    )
