"""The registry's part of the OpenAPI document."""

from __future__ import annotations

from clearsight.serve.openapi_parts import (
    JSON_TYPE,
    PROBLEM_TYPE,
    TEXT,
    Json,
    answer,
    array,
    closed,
    open_object,
    ref,
    refusals,
    some,
)

HIGHEST_VERSION = 2**31 - 1
CHANGES = {
    "promote": "Let a version answer, once it has passed its checks",
    "rollback": "Let the version before answer again",
    "canary": "Let a version answer a share of the keys",
    "shadow": "Let a version look on",
    "stop": "End a canary or a shadow",
}


def registry_operations() -> dict[tuple[str, str], Json]:
    """Return the registry's operations by method and path."""
    found = {
        ("GET", "/v1/registry"): _told("Models, versions and aliases", "Registry"),
        ("GET", "/v1/registry/{model}/history"): _told("The newest changes", "Changes", 404),
    }
    for verb, summary in CHANGES.items():
        body = {
            "required": verb != "rollback",
            "content": {JSON_TYPE: {"schema": ref(verb.title())}},
        }
        told = _told(summary, "Registered", 404, 408, 409, 413, 422)
        found["POST", f"/v1/registry/{{model}}/{verb}"] = {**told, "requestBody": body}
    return found


def registry_schemas() -> Json:
    """Return the registry's schemas by name."""
    version: Json = {"type": "integer", "minimum": 1, "maximum": HIGHEST_VERSION}
    share: Json = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
    alias: Json = {"enum": ["canary", "shadow"]}
    record = open_object(["name", "aliases", "versions"], name=TEXT, aliases={"type": "object"})
    return {
        "Registry": closed(["models"], models=array(ref("Registered"))),
        "Registered": record,
        "Changes": closed(["changes"], changes=array({"type": "object"})),
        "Promote": closed(["version"], version=version, why=TEXT),
        "Rollback": closed([], why=TEXT),
        "Canary": closed(["version", "share"], version=version, share=share, why=TEXT),
        "Shadow": closed(["version"], version=version, why=TEXT),
        "Stop": closed(["alias"], alias=alias, why=TEXT),
    }


def _told(summary: str, schema: str, *codes: int) -> Json:
    responses = {"200": answer("Answered", ref(schema))}
    return {
        "summary": summary,
        "responses": responses | refusals(some(400, *codes), "Problem", PROBLEM_TYPE),
    }
