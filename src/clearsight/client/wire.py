"""The native HTTP protocol from the client's side: bodies out, answers in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from clearsight.client.errors import (
    PROBLEM_BASE,
    AnswerError,
    PictureError,
    RefusedError,
    refusal,
)
from clearsight.client.retries import retry_after_s
from clearsight.core.nouns import Prediction

MOMENT_S = 0.001
ANSWER_BYTES = 64 * 1024 * 1024
"""Longer answers are not read."""


class Answered(Protocol):
    """One HTTP answer; header names in lower case."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header values by name."""

    @property
    def body(self) -> bytes:
        """The whole body."""


def promises(deadline_s: float, priority: str) -> dict[str, str]:
    """Return the query options that carry a request's deadline and priority."""
    seconds = min(max(MOMENT_S, deadline_s), 86_400.0)
    options = {"deadline": f"{seconds:.3f}"}
    return options if priority == "normal" else {**options, "priority": priority}


def upload(encoded: Sequence[bytes]) -> tuple[str, bytes]:
    """Return content type and body of a request: one picture as it is, several as a form."""
    if len(encoded) == 1:
        return "application/octet-stream", encoded[0]
    boundary = secrets.token_hex(16)
    parts = []
    for number, content in enumerate(encoded):
        disposition = f'form-data; name="image"; filename="{number}"'
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n"
        parts += [head.encode("ascii"), content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode("ascii"))
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def json_of(body: bytes) -> Any:
    """Read a JSON body.

    Raises:
        AnswerError: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AnswerError(
            "The answer is no JSON. Is the address that of a clearsight service?"
        ) from error


def predictions(answer: Answered, count: int) -> list[Prediction | PictureError]:
    """Read the results of a recognition, one a picture, in order.

    Raises:
        AnswerError: it is no such answer.
    """
    value = json_of(answer.body)
    try:
        results = value.get("results", [value])
        found = [_result(item) for item in results]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnswerError("The service's answer cannot be read.") from error
    if len(found) != count:
        raise AnswerError(f"The service gave {len(found)} results for {count} pictures.")
    return found


def has_results(answer: Answered) -> bool:
    """Say whether a refusal holds one result a picture: each of them has its own problem."""
    if answer.status not in (400, 413, 415):
        return False
    try:
        value = json_of(answer.body)
    except AnswerError:
        return False
    return isinstance(value, dict) and isinstance(value.get("results"), list)


def error_of(answer: Answered) -> RefusedError:
    """Return the typed error of a refusal."""
    try:
        value = json_of(answer.body)
    except AnswerError:
        value = None
    wait = retry_after_s(answer.headers.get("retry-after"))
    if not isinstance(value, dict) or "status" not in value:
        detail = f"The answer was HTTP {answer.status} without an explanation."
        return refusal(answer.status, "", detail, answer.headers.get("x-request-id", ""), wait)
    return _problem(value, answer.status, wait)


def _problem(value: Mapping[str, Any], status: int, wait: float | None) -> RefusedError:
    slug = str(value.get("type", "")).removeprefix(PROBLEM_BASE)
    detail = str(value.get("detail") or value.get("title") or f"HTTP {status}")
    return refusal(status, slug, detail, str(value.get("id", "")), wait)


def _result(item: Mapping[str, Any]) -> Prediction | PictureError:
    if "error" in item:
        problem = item["error"]
        error = _problem(problem, int(problem["status"]), None)
        return error if isinstance(error, PictureError) else _as_picture(error)
    labels = tuple(str(pair["label"]) for pair in item["predictions"])
    scores = tuple(float(pair["score"]) for pair in item["predictions"])
    if not labels:
        raise ValueError("no label")
    present = tuple(str(name) for name in item["labels"]) if "labels" in item else None
    rank = float(item["rank"]) if item.get("rank") is not None else None
    likely = tuple(str(name) for name in item["set"]) if "set" in item else None
    return Prediction(labels, scores, bool(item["accepted"]), present, rank, likely)


def _as_picture(error: RefusedError) -> PictureError:
    return PictureError(error.detail, error.status, error.problem, error.request_id)
