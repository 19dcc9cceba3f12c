"""clearsight's own HTTP protocol: POST /v1/recognize and /v1/explain, GET /v1/models."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import Any, cast

from clearsight.core.errors import ImageError
from clearsight.core.nouns import Prediction
from clearsight.serve.answers import answers
from clearsight.serve.calls import Call, Priority
from clearsight.serve.catalogue import Entry
from clearsight.serve.errors import MalformedRequestError
from clearsight.serve.explaining import Explaining, Wish
from clearsight.serve.http_messages import (
    PROBLEM,
    Request,
    Response,
    Route,
    json_response,
    problem,
)
from clearsight.serve.models import Model
from clearsight.serve.protocols import Answer, Exchange
from clearsight.serve.remembered import announced_digest
from clearsight.serve.service import Service
from clearsight.serve.uploads import read_upload

DEFAULT_TOP = 5
WHOLE = re.compile(r"-?[0-9]{1,9}")
SECONDS = re.compile(r"[0-9]{1,20}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
BOUNDARY = "clearsight-4f1c9a"


class Rest:
    """Pictures in by HTTP, labels out as JSON.

    Args:
        service: what answers.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._explaining = Explaining(service)

    def routes(self) -> list[Route]:
        """Return its routes, each with the scope it needs."""
        return [
            Route("POST", "/v1/recognize", self.recognize, "recognize"),
            Route("POST", "/v1/explain", self.explain, "explain"),
            Route("GET", "/v1/models", self.models, "recognize"),
        ]

    async def recognize(self, request: Request) -> Response:
        """Answer POST /v1/recognize; see /openapi.json.

        Several pictures give one result each, in order; when none of them can be used, the
        answer is the first one's problem.
        """
        call = _call(request)
        if (digest := announced_digest(request.header(b"content-digest"))) is not None:
            known = self.service.remembered(call, digest)
            if known is not None:  # answered before its body is read
                return json_response(_answer(request, known[0]) | _result(request, known[1]))
        self.service.admit(call)
        upload = await read_upload(request)
        ticket = self.service.submit(replace(call, pictures=upload.pictures))
        outcomes = await answers(ticket, request.left())
        answer = _answer(request, ticket.model)
        for outcome in outcomes:
            bad_picture = upload.many and isinstance(outcome, ImageError)
            if isinstance(outcome, BaseException) and not bad_picture:
                raise outcome
        results = [_result(request, outcome) for outcome in outcomes]
        if not upload.many:
            return json_response({**answer, **results[0]})
        named = [
            {"name": name, **result} for name, result in zip(upload.names, results, strict=True)
        ]
        if all("error" in result for result in results):
            first = results[0]["error"]
            return json_response({**first, "results": named}, first["status"], PROBLEM)
        return json_response({**answer, "results": named})

    async def explain(self, request: Request) -> Response:
        """Answer POST /v1/explain: the label of one picture, and what speaks for it."""
        told = request.options("model", "version", "deadline", "method", "class", "against")
        call = Call(
            [],
            told.get("model"),
            told.get("version"),
            DEFAULT_TOP,
            _deadline(told),
            caller=request.caller,
            id=request.id,
        )
        wish = Wish(told.get("method", "auto"), told.get("class"), told.get("against"))
        model, prediction, why = await self._explaining.explain(request, call, wish)
        answer = _answer(request, model) | _result(request, prediction)
        return json_response(answer | {"explanation": why})

    async def models(self, request: Request) -> Response:
        """Answer GET /v1/models: what is served, with classes and input size."""
        request.options()
        entries = self.service.models.entries(request.caller)
        return json_response({"models": [self._about(entry) for entry in entries]})

    def _about(self, entry: Entry) -> dict[str, Any]:
        versions = self.service.models.versions(entry.name)
        model = versions[entry.production]
        size = model.preprocessing
        return {
            "name": entry.name,
            "version": entry.production,
            "task": model.task,
            "classes": list(model.classes),
            "input": {"height": size.height, "width": size.width, "channels": size.channels},
            "versions": [_state(entry, version) for version in versions.values()],
        }

    @staticmethod
    def exchanges(encoded: bytes, top: int, model: str) -> dict[str, Exchange]:
        """Return, for every way a picture can be sent, the request that sends it."""
        target = f"/v1/recognize?top={top}&model={model}"
        text = base64.b64encode(encoded).decode("ascii")
        disposition = 'Content-Disposition: form-data; name="image"; filename="a"'
        opening = f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode()
        form = opening + encoded + f"\r\n--{BOUNDARY}--\r\n".encode()
        json_type, form_type = "application/json", f"multipart/form-data; boundary={BOUNDARY}"
        return {
            "raw": Exchange("POST", target, "image/jpeg", encoded),
            "raw, untyped": Exchange("POST", target, "", encoded),
            "multipart": Exchange("POST", target, form_type, form),
            "base64": Exchange("POST", target, json_type, json.dumps({"image": text}).encode()),
            "base64 list": Exchange(
                "POST", target, json_type, json.dumps({"images": [text]}).encode()
            ),
        }

    @staticmethod
    def prediction(answer: Answer) -> Prediction:
        """Read the Prediction out of a 200 answer to one of `exchanges`."""
        value = json.loads(answer.body)
        one = value["results"][0] if "results" in value else value
        return Prediction(
            tuple(item["label"] for item in one["predictions"]),
            tuple(item["score"] for item in one["predictions"]),
            one["accepted"],
            tuple(one["labels"]) if "labels" in one else None,
            one.get("rank"),
            tuple(one["set"]) if "set" in one else None,
        )


def _call(request: Request) -> Call:
    """Return the call that a request's options describe, without its pictures."""
    told = request.options("top", "model", "version", "priority", "deadline")
    return Call(
        [],
        told.get("model"),
        told.get("version"),
        int(_number(told, "top", WHOLE, "a whole number", str(DEFAULT_TOP))),
        _deadline(told),
        cast("Priority", told.get("priority", "normal")),
        request.caller,
        request.id,
    )


def _deadline(told: dict[str, str]) -> float | None:
    return float(_number(told, "deadline", SECONDS, "seconds")) if "deadline" in told else None


def _number(
    told: dict[str, str], name: str, pattern: re.Pattern[str], kind: str, default: str = ""
) -> str:
    text = told.get(name, default)
    if not pattern.fullmatch(text):
        raise MalformedRequestError(f"{name!r} must be {kind}, got {text[:40]!r}.")
    return text


def _answer(request: Request, model: Model) -> dict[str, Any]:
    return {"id": request.id, "model": model.name, "version": model.version}


def _result(request: Request, outcome: Prediction | BaseException) -> dict[str, Any]:
    if isinstance(outcome, BaseException):
        return {"error": problem(request.id, outcome)}
    pairs = zip(outcome.labels, outcome.scores, strict=True)
    return {
        "predictions": [{"label": label, "score": float(score)} for label, score in pairs],
        "accepted": bool(outcome.accepted),
        **({} if outcome.set is None else {"set": list(outcome.set)}),
        **({} if outcome.present is None else {"labels": list(outcome.present)}),
        **({} if outcome.rank is None else {"rank": outcome.rank}),
    }


def _state(entry: Entry, model: Model) -> dict[str, Any]:
    roles = {
        "production": entry.production == model.version,
        "canary": entry.canary is not None and entry.canary[0] == model.version,
        "shadow": entry.shadow == model.version,
    }
    return {
        "version": model.version,
        "roles": [role for role, holds in roles.items() if holds],
        "state": "loaded" if model.loaded else "cold",
        "engine": model.engine,
        "variant": model.variant,
        "memory_mb": round(model.memory_bytes / 1e6, 1),
    }
