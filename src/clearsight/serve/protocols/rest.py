"""clearsight's own HTTP protocol: POST /v1/recognize and GET /v1/models."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from clearsight.core.errors import ImageError
from clearsight.core.nouns import Prediction
from clearsight.serve.errors import ClientLeftError, ExpiredError, MalformedRequestError
from clearsight.serve.http_messages import (
    PROBLEM,
    Handler,
    Request,
    Response,
    json_response,
    problem,
)
from clearsight.serve.protocols import Exchange
from clearsight.serve.service import Model, Service
from clearsight.serve.uploads import read_upload

DEFAULT_TOP = 5
BOUNDARY = "clearsight-4f1c9a"


class Rest:
    """Pictures in by HTTP, labels out as JSON.

    Args:
        service: what answers.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    def routes(self) -> dict[str, dict[str, Handler]]:
        """Return a handler by path and method."""
        return {
            "/v1/recognize": {"POST": self.recognize},
            "/v1/models": {"GET": self.models},
        }

    async def recognize(self, request: Request) -> Response:
        """Answer POST /v1/recognize; see /openapi.json.

        Several pictures give one result each, in order; when none of them can be used, the
        answer is the first one's problem.
        """
        options = request.options("top", "model")
        model = self.service.model(options.get("model"))
        top = _top(options.get("top"))
        upload = await read_upload(request)
        outcomes = await self._outcomes(request, model, upload.pictures, top)
        answer: dict[str, Any] = {"id": request.id, "model": model.name, "version": model.version}
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

    async def models(self, request: Request) -> Response:
        """Answer GET /v1/models: what is served, with classes and input size."""
        request.options()
        return json_response({"models": [_about(model) for model in self.service.models.values()]})

    async def _outcomes(
        self, request: Request, model: Model, pictures: list[bytes], top: int
    ) -> list[Prediction | BaseException]:
        futures = [asyncio.wrap_future(f) for f in self.service.submit(model, pictures, top)]
        left = asyncio.ensure_future(request.left())
        left.add_done_callback(lambda _: [future.cancel() for future in futures])
        try:
            _, late = await asyncio.wait(futures, timeout=self.service.limits.deadline_s)
            if left.done():
                raise ClientLeftError("The client closed the connection before the answer.")
            if late:
                raise ExpiredError("The deadline passed before there was an answer. Try later.")
            return [future.exception() or future.result() for future in futures]
        finally:
            left.cancel()  # ends the waiting for the client and, by its callback, all that is late

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
    def prediction(body: bytes) -> Prediction:
        """Read the Prediction out of a 200 answer to one of `exchanges`."""
        value = json.loads(body)
        one = value["results"][0] if "results" in value else value
        return Prediction(
            tuple(item["label"] for item in one["predictions"]),
            tuple(item["score"] for item in one["predictions"]),
            one["accepted"],
            tuple(one["labels"]) if "labels" in one else None,
            one.get("rank"),
        )


def _top(text: str | None) -> int:
    if text is None:
        return DEFAULT_TOP
    if not (text.isascii() and text.lstrip("-").isdigit() and len(text) < 10):
        raise MalformedRequestError(f"'top' must be a whole number, got {text[:40]!r}.")
    return int(text)


def _result(request: Request, outcome: Prediction | BaseException) -> dict[str, Any]:
    if isinstance(outcome, BaseException):
        return {"error": problem(request.id, outcome)}
    pairs = zip(outcome.labels, outcome.scores, strict=True)
    return {
        "predictions": [{"label": label, "score": float(score)} for label, score in pairs],
        "accepted": bool(outcome.accepted),
        **({} if outcome.present is None else {"labels": list(outcome.present)}),
        **({} if outcome.rank is None else {"rank": outcome.rank}),
    }


def _about(model: Model) -> dict[str, Any]:
    size = model.predictor.preprocessing
    return {
        "name": model.name,
        "version": model.version,
        "task": model.predictor.task,
        "classes": list(model.predictor.classes),
        "input": {"height": size.height, "width": size.width, "channels": size.channels},
    }
