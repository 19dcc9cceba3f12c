"""What the OpenAPI document says of POST /v1/explain."""

from __future__ import annotations

from clearsight.data.header import FORMATS
from clearsight.explain.explain import TORCH_FREE
from clearsight.explain.explainer import EXPLAINERS
from clearsight.serve.openapi_parts import (
    BOOLEAN,
    COUNT,
    MODEL,
    PRINTABLE,
    PROBLEM_TYPE,
    TEXT,
    VERSION,
    Json,
    answer,
    array,
    closed,
    query,
    ref,
    refusals,
    titles,
)

SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}
SCORES = ("deletion", "insertion", "random_deletion", "random_insertion", "centre_deletion")


def explain_operations(one: bool) -> dict[tuple[str, str], Json]:
    """Return the operation.

    Args:
        one: only one model is served.
    """
    name: Json = {"type": "string", "format": PRINTABLE, "minLength": 1, "maxLength": 200}
    raw: Json = {"schema": {"type": "string", "format": "binary"}}
    kinds = [*(f"image/{key}" for key in FORMATS), "application/octet-stream"]
    return {
        ("POST", "/v1/explain"): {
            "operationId": "explain",
            "summary": "Say which part of a picture speaks for its label",
            "description": (
                "Send one encoded picture. The answer carries a map, its proof (deletion and "
                "insertion scores against random maps and a blob in the centre), and whether it "
                "is `faithful`. Methods that need gradients are not offered here."
            ),
            "parameters": [
                query("method", {"enum": methods()}, "How; auto chooses what suits the model"),
                query("class", name, "Why this class; the best one where not given"),
                query("against", name, "Why not this class; 'next' is the best other one"),
                query("model", MODEL, "Which model; may be left out where one is served", not one),
                query("version", VERSION, "Which version; production where not given"),
                query("deadline", {"type": "number", "exclusiveMinimum": 0}, "Seconds to wait"),
            ],
            "requestBody": {"required": True, "content": dict.fromkeys(kinds, raw)},
            "responses": {
                "200": answer("The label, and why", ref("Explained")),
                **refusals(titles(), "Problem", PROBLEM_TYPE),
            },
        }
    }


def explain_schemas() -> Json:
    """Return the schemas of the answer."""
    png: Json = {
        "type": "string",
        "contentEncoding": "base64",
        "contentMediaType": "image/png",
        "description": "The map as an RGBA picture to lie over the whole picture",
    }
    place: Json = array(COUNT, minItems=2, maxItems=2) | {
        "description": "[y, x] of the strongest evidence, in the picture's own pixels"
    }
    scores: Json = dict.fromkeys([*SCORES, "centre_insertion"], SHARE)
    members: Json = {"label": TEXT, "score": SHARE, "method": TEXT, "peak": place, **scores}
    members |= {"faithful": BOOLEAN, "map": png}
    explanation = closed(list(members), **members, against=TEXT)
    predictions = array(closed(["label", "score"], label=TEXT, score=SHARE), minItems=1)
    named: Json = {"id": TEXT, "model": TEXT, "version": TEXT, "predictions": predictions}
    named |= {"accepted": BOOLEAN, "explanation": explanation}
    more: Json = {"labels": array(TEXT), "set": array(TEXT)}
    more |= {"rank": {"type": "number", "minimum": 0}}
    return {"Explained": closed(list(named), **named, **more)}


def methods() -> list[str]:
    """Return the keys of the methods that the service offers."""
    keys = EXPLAINERS.keys()
    return ["auto", *(key for key in keys if EXPLAINERS.load(key).needs in TORCH_FREE)]
