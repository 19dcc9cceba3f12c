"""The OpenAPI 3.1 document, built from the same tables that the code runs on."""

from __future__ import annotations

from typing import Any

from clearsight.core.version import __version__
from clearsight.data.header import FORMATS
from clearsight.serve.service import MODEL_NAME, Service
from clearsight.serve.status import IMAGE_STATUSES, STATUSES, UNEXPECTED

Json = dict[str, Any]
TEXT: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}
CLIENT_LEFT = 499  # nobody is there to read it


def openapi(service: Service) -> Json:
    """Return the document that describes what this service does, its limits included."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clearsight",
            "version": __version__,
            "description": "Recognizes pictures. Errors are problem+json (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/recognize": {"post": _recognize(service)},
            "/v1/models": {"get": _get("What is served", "Models", failures={"400": "Problem"})},
            "/livez": {"get": _get("Is the process alive", "State")},
            "/readyz": {"get": _get("Does it take requests", "State", failures={"503": "State"})},
            "/metrics": {"get": _text("Prometheus metrics", "text/plain", refuses=True)},
            "/openapi.json": {"get": _get("This document", None)},
            "/": {"get": _text("The page", "text/html")},
        },
        "components": {
            "schemas": _schemas(service),
            "headers": {
                "X-Request-Id": {
                    "description": "The request's id: the client's own, else a new one",
                    "schema": {"type": "string"},
                }
            },
        },
    }


def _recognize(service: Service) -> Json:
    either: Json = {"oneOf": [_ref("Answer"), _ref("ListAnswer")]}
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
        "parameters": _parameters(service),
        "requestBody": {"required": True, "content": _bodies(service)},
        "responses": {"200": _json_answer("Labels, best first", either), **_problems()},
    }


def _parameters(service: Service) -> list[Json]:
    most = service.limits.top
    return [
        {
            "name": "top",
            "in": "query",
            "description": "How many labels; more than the model's classes gives all",
            "schema": {"type": "integer", "minimum": 1, "maximum": most, "default": 5},
        },
        {
            "name": "model",
            "in": "query",
            "description": "Which model; may be left out where one is served",
            "required": len(service.models) > 1,
            "schema": {"type": "string", "pattern": f"^{MODEL_NAME.pattern}$"},
        },
    ]


def _bodies(service: Service) -> Json:
    raw: Json = {"schema": {"type": "string", "format": "binary"}}
    files: Json = {
        "type": "array",
        "items": {"type": "string", "contentMediaType": "application/octet-stream"},
        "minItems": 1,
        "maxItems": service.limits.pictures,
    }
    return {
        **{f"image/{name}": raw for name in FORMATS},
        "application/octet-stream": raw,
        "multipart/form-data": {"schema": {"type": "object", "properties": {"image": files}}},
        "application/json": {"schema": _ref("Upload")},
    }


def _problems() -> Json:
    every = [*STATUSES.values(), *IMAGE_STATUSES.values(), UNEXPECTED]
    titles: dict[int, list[str]] = {}
    for status in every:
        if status.http != CLIENT_LEFT:
            titles.setdefault(status.http, []).append(status.title)
    return {
        str(code): {
            "description": "; ".join(titles[code]),
            "headers": _id_header(),
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        }
        for code in sorted(titles)
    }


def _get(summary: str, schema: str | None, failures: dict[str, str] | None = None) -> Json:
    body: Json = {"type": "object"} if schema is None else _ref(schema)
    responses: Json = {"200": _json_answer("Answered", body)}
    for code, name in {"400": "Problem", **(failures or {})}.items():
        kind = "application/problem+json" if name == "Problem" else "application/json"
        responses[code] = _json_answer("Not so", _ref(name), kind)
    return {"summary": summary, "responses": responses}


def _text(summary: str, content_type: str, refuses: bool = False) -> Json:
    content: Json = {content_type: {"schema": {"type": "string"}}}
    responses: Json = {
        "200": {"description": "Answered", "headers": _id_header(), "content": content}
    }
    if refuses:
        responses["400"] = _json_answer("Not so", _ref("Problem"), "application/problem+json")
    return {"summary": summary, "responses": responses}


def _json_answer(description: str, schema: Json, kind: str = "application/json") -> Json:
    return {
        "description": description,
        "headers": _id_header(),
        "content": {kind: {"schema": schema}},
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _id_header() -> Json:
    return {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}


def _object(required: list[str], closed: bool = True, **properties: Json) -> Json:
    schema: Json = {"type": "object", "required": required, "properties": properties}
    if closed:
        schema["additionalProperties"] = False
    return schema


def _schemas(service: Service) -> Json:
    return {
        **_upload_schema(service),
        **_answer_schemas(),
        "Problem": _object(
            ["type", "title", "status", "detail", "id"],
            closed=False,
            type=TEXT,
            title=TEXT,
            status=INTEGER,
            detail=TEXT,
            id=TEXT,
        ),
        "Models": _object(["models"], models={"type": "array", "items": _model_schema()}),
        "State": _object(["status"], status={"enum": ["live", "ready", "stopping"]}),
    }


def _upload_schema(service: Service) -> Json:
    base64: Json = {
        "type": "string",
        "contentEncoding": "base64",
        "pattern": "^[A-Za-z0-9+/]*={0,2}$",
    }
    many: Json = {"type": "array", "minItems": 1, "items": base64}
    many["maxItems"] = service.limits.pictures
    return {
        "Upload": {"oneOf": [_object(["image"], image=base64), _object(["images"], images=many)]}
    }


def _answer_schemas() -> Json:
    score: Json = {"type": "number", "minimum": 0, "maximum": 1}
    label = _object(["label", "score"], label=TEXT, score=score)
    predictions: Json = {"type": "array", "minItems": 1, "items": label}
    accepted: Json = {
        "type": "boolean",
        "description": "False when the model is not sure: the best score is below its threshold",
    }
    present: Json = {"type": "array", "items": TEXT}
    present["description"] = "Only of a multi-label model: the classes that are in the picture"
    rank: Json = {"type": "number", "minimum": 0}
    rank["description"] = "Only of an ordinal model: the mean position on its scale"
    found: Json = {"predictions": predictions, "accepted": accepted, "labels": present}
    found["rank"] = rank
    name: Json = {"type": ["string", "null"]}
    result = _object(["name"], name=name, **found, error=_ref("Problem"))
    named: Json = {"id": TEXT, "model": TEXT, "version": TEXT}
    results: Json = {"type": "array", "items": result}
    return {
        "Answer": _object([*named, "predictions", "accepted"], **named, **found),
        "ListAnswer": _object([*named, "results"], **named, results=results),
    }


def _model_schema() -> Json:
    return _object(
        ["name", "version", "task", "classes", "input"],
        name=TEXT,
        version=TEXT,
        task={"enum": ["single-label", "multi-label", "ordinal"]},
        classes={"type": "array", "items": TEXT},
        input=_object(
            ["height", "width", "channels"], height=INTEGER, width=INTEGER, channels=INTEGER
        ),
    )
