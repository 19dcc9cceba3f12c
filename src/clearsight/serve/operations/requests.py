"""Brings together what happened to a request and to its pictures, for the log and for traces."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from clearsight.serve.calls import Observation
from clearsight.serve.log import LOG, failure
from clearsight.serve.repeating import Repeating

MOST_PENDING = 4096
MOST_PICTURES = 64
SETTLE_S = 0.05


@dataclass(frozen=True, slots=True)
class Answered:
    """One request that has its answer.

    Args:
        id: the request's id.
        method: HTTP method, or "gRPC".
        route: the route's pattern, never the address that was asked for.
        status: HTTP status code, of gRPC the one its error stands for.
        started: `time.time()` of its head.
        seconds: until its answer.
        caller_id: the key's public part; "" without a key.
        traceparent, tracestate: W3C trace context that came with it; empty without.
    """

    id: str
    method: str
    route: str
    status: int
    started: float
    seconds: float
    caller_id: str = ""
    traceparent: str = ""
    tracestate: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture of a request, and when its answer was ready (`time.time()`)."""

    observation: Observation
    ended: float


Sink = Callable[[Answered, Sequence[Seen]], None]


class Requests:
    """Keeps what was seen of a request's pictures until its answer, then tells every sink.

    The sinks run on a thread of their own, a moment after the answer: a picture may be told of
    shortly after the client has read its label. Without sinks nothing is kept and no thread runs.
    Everything is bounded: what does not fit is forgotten and counted.

    Args:
        sinks: told of every answered request with its pictures.
    """

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self.sinks: list[Sink] = []
        self.dropped = 0
        self._lock = threading.Lock()
        self._pending: OrderedDict[str, list[Seen]] = OrderedDict()
        self._answered: deque[tuple[float, Answered]] = deque()
        self._teller: Repeating | None = None
        for sink in sinks:
            self.add(sink)

    def add(self, sink: Sink) -> None:
        """Tell this sink too, of every request from now on."""
        self.sinks.append(sink)
        if self._teller is None:
            self._teller = Repeating(
                lambda: self._tell(time.monotonic()),
                SETTLE_S,
                "clearsight-requests",
                "requests could not be told of",
            )

    def observe(self, observation: Observation) -> None:
        """Keep one picture; called on the worker's thread."""
        if not self.sinks or observation.shadow or not observation.request_id:
            return
        if observation.embedding is not None:
            observation = replace(observation, embedding=None)  # kept for nobody here, and large
        seen = Seen(observation, time.time())
        with self._lock:
            pictures = self._pending.setdefault(observation.request_id, [])
            if len(pictures) < MOST_PICTURES:
                pictures.append(seen)
            if len(self._pending) > MOST_PENDING:
                self._pending.popitem(last=False)

    def answered(self, answered: Answered) -> None:
        """Have every sink told soon."""
        if not self.sinks:
            return
        if len(self._answered) >= MOST_PENDING:
            self.dropped += 1
            return
        self._answered.append((time.monotonic() + SETTLE_S, answered))

    def close(self) -> None:
        """Tell what is left, and end."""
        if self._teller is not None:
            self._teller.close()
        self._tell(float("inf"))

    def _tell(self, now: float) -> None:
        while self._answered and self._answered[0][0] <= now:
            _, answered = self._answered.popleft()
            with self._lock:
                pictures = self._pending.pop(answered.id, [])
            for sink in self.sinks:
                try:
                    sink(answered, pictures)
                except Exception as error:  # noqa: BLE001 - a sink must never stop the others
                    failure("a request could not be told of", error)


def log_line(answered: Answered, pictures: Sequence[Seen]) -> None:
    """Write the one line of a request: who asked what of which model, and how it ended."""
    model = version = ""
    if pictures:
        model, version = pictures[0].observation.model, pictures[0].observation.version
    LOG.write(
        "info",
        "request",
        time=answered.started + answered.seconds,
        id=answered.id,
        method=answered.method,
        route=answered.route,
        model=model,
        version=version,
        status=answered.status,
        ms=round(answered.seconds * 1000, 2),
        key=answered.caller_id,
    )
