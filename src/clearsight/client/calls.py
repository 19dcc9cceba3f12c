"""What a call does, without a transport: generators that ask for requests, waits and work.

`Client` and `AsyncClient` drive the same generators: one sends and sleeps, the other awaits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

from clearsight.client import wire
from clearsight.client.errors import (
    AnswerError,
    CallError,
    DeadlineError,
    PictureError,
    RefusedError,
    UnreachableError,
)
from clearsight.client.models import ServedModel, read_models
from clearsight.client.pictures import Picture, encode, listed
from clearsight.client.retries import RETRIED, Backoff
from clearsight.core.errors import ImageError, UsageError, nearest
from clearsight.core.nouns import Prediction

T = TypeVar("T")
Priority = Literal["normal", "batch"]
PRIORITIES: tuple[Priority, ...] = ("normal", "batch")
GROUP_PICTURES = 16
GROUP_BYTES = 8 * 1024 * 1024
READY_S = 2.0


@dataclass(frozen=True, slots=True)
class Send:
    """Ask for one HTTP exchange; the driver gives back an `Answer` or `Lost`."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask for a pause."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Ask for something to be computed; the driver gives back what the function returns."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer came.

    Args:
        kind: no connection; a connection that broke; or the time was over.
        detail: for a person.
    """

    kind: Literal["connect", "broken", "timeout", "too large"]
    detail: str


Call = Generator[Send | Wait | Work, Any, T]


@dataclass(slots=True)
class Deadline:
    """The end of a call, its retries and waits included."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    ends: float = field(init=False)

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise UsageError(f"deadline_s must be a positive number; got {self.seconds}.")
        self.ends = self.clock() + self.seconds

    def left_s(self) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlineError: none are.
        """
        left = self.ends - self.clock()
        if left <= 0:
            raise self.over()
        return left

    def over(self) -> DeadlineError:
        """Return the error that says so."""
        return DeadlineError(f"There was no answer within {self.seconds:g} s.")


@dataclass(slots=True)
class Calls:
    """Everything that can be asked of one service.

    Args:
        key: API key, or None.
        deadline_s: seconds for one call where the call says nothing else.
        backoff: see there.
        shrink: make large pictures smaller before they are sent.
        clock, draw: for tests.
    """

    key: str | None
    deadline_s: float
    backoff: Backoff
    shrink: bool
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    _models: dict[str, ServedModel] | None = None

    def models(self) -> Call[list[ServedModel]]:
        """Ask what is served."""
        answer = yield from self._exchange("GET", "/v1/models", self._deadline(None))
        return read_models(wire.json_of(answer.body))

    def ready(self) -> Call[bool]:
        """Ask whether the service takes requests; no answer is a no."""
        seconds = min(READY_S, self.deadline_s)
        outcome = yield Send("GET", "/readyz", self._headers(""), b"", seconds)
        return isinstance(outcome, Answer) and outcome.status == 200

    def recognize(
        self,
        pictures: Picture | Iterable[Picture],
        model: str | None,
        top: int,
        deadline_s: float | None,
        priority: Priority,
        errors: Literal["raise", "return"],
    ) -> Call[Any]:
        """Recognize one picture or several; see `Client.recognize`."""
        _check("priority", priority, PRIORITIES)
        _check("errors", errors, ("raise", "return"))
        deadline = self._deadline(deadline_s)
        many, items = listed(pictures)
        size = yield from self._input_size(model, deadline)
        options = {"top": str(top), **({"model": model} if model is not None else {})}
        results: list[Prediction | ImageError] = []
        for start in range(0, len(items), GROUP_PICTURES):
            part = items[start : start + GROUP_PICTURES]
            encoded = yield Work(partial(_encoded, part, size))
            results += yield from self._recognize_part(encoded, options, priority, deadline)
        if errors == "raise":
            _raise_first(results, many)
        return results if many else results[0]

    def _recognize_part(
        self,
        encoded: Sequence[bytes | ImageError],
        options: dict[str, str],
        priority: Priority,
        deadline: Deadline,
    ) -> Call[list[Prediction | ImageError]]:
        """Send what could be encoded, in as few requests as its size allows; keep the order."""
        results: list[Any] = list(encoded)
        places = [at for at, item in enumerate(encoded) if isinstance(item, bytes)]
        for group in _groups(places, [len(results[at]) for at in places]):
            content_type, body = wire.upload([results[at] for at in group])
            try:
                answer = yield from self._exchange(
                    "POST", "/v1/recognize", deadline, content_type, body, options, priority
                )
            except PictureError as error:  # a single one, or the first of several
                for at in group:
                    results[at] = error
                continue
            for at, found in zip(group, wire.predictions(answer, len(group)), strict=True):
                results[at] = found
        return results

    def _input_size(self, model: str | None, deadline: Deadline) -> Call[tuple[int, int] | None]:
        """Return the model's input size; asked once, and None where it cannot be known."""
        if not self.shrink:
            return None
        if self._models is None:
            try:
                answer = yield from self._exchange("GET", "/v1/models", deadline)
                found = read_models(wire.json_of(answer.body))
            except (RefusedError, AnswerError):
                found = []  # the recognition itself says what is wrong
            self._models = {item.name: item for item in found}
        known = self._models
        one = next(iter(known.values())) if model is None and len(known) == 1 else None
        item = known.get(model or "", one)
        return None if item is None else (item.height, item.width)

    def _exchange(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        content_type: str = "",
        body: bytes = b"",
        options: Mapping[str, str] | None = None,
        priority: Priority = "normal",
    ) -> Call[Answer]:
        """Send a request until it is answered, refused for good, or the time is over."""
        attempt = 0
        while True:
            attempt += 1
            left = deadline.left_s()
            query = dict(options or {})
            if path == "/v1/recognize":
                query |= wire.promises(left, priority)
            target = f"{path}?{urlencode(query)}" if query else path
            outcome = yield Send(method, target, self._headers(content_type), body, left)
            if isinstance(outcome, Answer) and outcome.status < 400:
                return outcome
            if isinstance(outcome, Answer) and wire.has_results(outcome):
                return outcome
            error, again = _judged(outcome, deadline)
            if not again or attempt >= self.backoff.attempts:
                raise error
            asked = error.retry_after_s if isinstance(error, RefusedError) else None
            wait = self.backoff.wait_s(attempt, asked, self.draw())
            if wait >= deadline.ends - self.clock():
                raise error  # the wait alone would take longer than there is time
            yield Wait(wait)

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"accept": "application/json"}
        if content_type:
            headers["content-type"] = content_type
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        return headers

    def _deadline(self, seconds: float | None) -> Deadline:
        return Deadline(self.deadline_s if seconds is None else seconds, self.clock)


def _judged(outcome: Answer | Lost, deadline: Deadline) -> tuple[CallError, bool]:
    """Return the error of an outcome, and whether asking again may help."""
    if isinstance(outcome, Answer):
        return wire.error_of(outcome), outcome.status in RETRIED
    if outcome.kind == "timeout":
        return deadline.over(), False  # the service may still be at it: asking again doubles it
    if outcome.kind == "too large":
        return AnswerError(outcome.detail), False
    return UnreachableError(outcome.detail), True


def _encoded(pictures: Sequence[Picture], size: tuple[int, int] | None) -> list[bytes | ImageError]:
    results: list[bytes | ImageError] = []
    for picture in pictures:
        try:
            results.append(encode(picture, size))
        except ImageError as error:
            results.append(error)
    return results


def _groups(places: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    room = 0
    for place, size in zip(places, sizes, strict=True):
        if not groups or size > room:
            groups.append([])
            room = GROUP_BYTES
        groups[-1].append(place)
        room -= size
    return groups


def _raise_first(results: Sequence[Prediction | ImageError], many: bool) -> None:
    for number, result in enumerate(results):
        if isinstance(result, ImageError):
            if many:
                result.add_note(
                    f"It is picture {number} of {len(results)} (the first is 0). With "
                    "errors='return' the others are answered."
                )
            raise result


def _check(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} cannot be {value!r}.{nearest(str(value), allowed)}")
