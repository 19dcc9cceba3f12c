"""Pieces that every operation of the OpenAPI document is put together from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearsight.serve.catalogue import MODEL_NAME
from clearsight.serve.status import IMAGE_STATUSES, STATUSES, UNEXPECTED

Json = dict[str, Any]
TEXT: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}
COUNT: Json = {"type": "integer", "minimum": 0}
BOOLEAN: Json = {"type": "boolean"}
JSON_TYPE, PROBLEM_TYPE = "application/json", "application/problem+json"
CLIENT_LEFT = 499  # nobody is there to read it
PICTURE_FORMAT, PRINTABLE = "encoded-picture", "printable"
BASE64_PICTURE: Json = {
    "type": "string",
    "format": PICTURE_FORMAT,
    "contentEncoding": "base64",
    "description": "An encoded picture (JPEG, PNG, WebP, GIF, BMP or TIFF) in base64",
}
MODEL: Json = {"type": "string", "pattern": f"^{MODEL_NAME.pattern}$"}
VERSION: Json = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"}
PATH_PARTS: dict[str, Json] = {"model": MODEL, "name": MODEL, "version": VERSION}
"""Schema of each part of an address that stands for something."""


def ref(name: str) -> Json:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(required: list[str], **properties: Json) -> Json:
    """Return the schema of an object with these members and no others."""
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def open_object(required: list[str], **properties: Json) -> Json:
    """Return the schema of an object that may have further members."""
    return {"type": "object", "required": required, "properties": properties}


def array(items: Json, **bounds: int) -> Json:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **bounds}


def query(name: str, schema: Json, description: str, required: bool = False) -> Json:
    """Return an option of an address."""
    return {
        "name": name,
        "in": "query",
        "description": description,
        "required": required,
        "schema": schema,
    }


def answer(description: str, schema: Json, kind: str = JSON_TYPE) -> Json:
    """Return one answer of an operation."""
    return {
        "description": description,
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
        "content": {kind: {"schema": schema}},
    }


def refusals(codes: Mapping[int, str], schema: str, kind: str) -> Json:
    """Return answers that refuse, by status code, all of one schema."""
    return {str(code): answer(codes[code], ref(schema), kind) for code in sorted(codes)}


def titles() -> dict[int, str]:
    """Return what each status code can mean, from the one table of errors."""
    found: dict[int, list[str]] = {}
    for status in [*STATUSES.values(), *IMAGE_STATUSES.values(), UNEXPECTED]:
        if status.http != CLIENT_LEFT and status.title not in found.get(status.http, []):
            found.setdefault(status.http, []).append(status.title)
    return {code: "; ".join(words) for code, words in found.items()}


def some(*codes: int) -> dict[int, str]:
    """Return the titles of some status codes."""
    every = titles()
    return {code: every[code] for code in codes}
