"""What every HTTP protocol of the service must satisfy.

A clause gets a protocol class, mounts it on a Service around a predictor that can be watched and
held, and talks bare ASGI to it. Nothing listens on a port.
"""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from clearsight.core.nouns import ImageHWC, ImagesNHWC, Prediction, Preprocessing, Scores, Task
from clearsight.data.preprocess import prepare_encoded
from clearsight.serve.app import app_of
from clearsight.serve.http_messages import Scope
from clearsight.serve.protocols import PROTOCOLS, Exchange
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.serve.status import STATUSES
from clearsight.testing.contract import Contract
from clearsight.testing.protocol_violations import (
    Brittle,
    NeverFails,
    Stubborn,
    Talkative,
    Unbounded,
    WorstFirst,
)

LABELS = ("red", "green", "blue", "</script><b>猫")
PATIENCE_S = 5.0


class WatchedPredictor:
    """A predictor whose scores are a picture's mean colours; counts, and can be held or broken."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = threading.Event()
        self.go.set()
        self.started = threading.Event()
        self.broken_score: float | None = None
        self.error: Exception | None = None

    classes = LABELS
    preprocessing = Preprocessing(height=8, width=8)
    task: Task = "single-label"

    def prepare(self, encoded: bytes) -> ImageHWC:
        """Decode and resize."""
        return prepare_encoded(encoded, self.preprocessing)

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return the mean colours, and a constant for the fourth class."""
        means = images_nhwc.mean(axis=(1, 2), dtype=np.float64) / 10
        logits = np.concatenate([means, np.zeros((len(means), 1))], axis=1)
        return logits.astype(np.float32)

    def probabilities(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return the softmax of `logits`, when it is let."""
        self.calls += len(images_nhwc)
        self.started.set()
        self.go.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return self.softmax(images_nhwc)

    def softmax(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return the softmax of `logits`."""
        powers = np.exp(self.logits(images_nhwc).astype(np.float64))
        shares: Scores = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares

    def recognize(self, encoded: bytes, top: int = 5) -> Prediction:
        """Recognize one picture without being counted or held."""
        return self.prediction(self.softmax(self.prepare(encoded)[None])[0], top)

    def prediction(self, probabilities: Scores, top: int = 5) -> Prediction:
        """Return the best labels, with `broken_score` in place of every score where it is set."""
        order = np.argsort(-probabilities)[:top]
        broken = self.broken_score
        scores = tuple(float(probabilities[i]) if broken is None else broken for i in order)
        return Prediction(tuple(LABELS[i] for i in order), scores, bool(scores[0] > 0.5))


@dataclass
class Answer:
    """What came back over ASGI; status 0 when nothing did."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass
class Mounted:
    """A protocol on a Service around a WatchedPredictor."""

    protocol: Any
    service: Service
    predictor: WatchedPredictor

    def exchanges(self, encoded: bytes, top: int = 3) -> dict[str, Exchange]:
        """Return every way to send one picture."""
        exchanges: dict[str, Exchange] = self.protocol.exchanges(encoded, top, "watched")
        assert exchanges, "the protocol shows no way to send a picture"
        return exchanges

    async def ask(
        self, exchange: Exchange, leave: asyncio.Event | None = None, headers: Any = ()
    ) -> Answer:
        """Send one request in two pieces; the client leaves when `leave` is set."""
        path, _, query = exchange.target.partition("?")
        scope: Scope = {
            "type": "http",
            "method": exchange.method,
            "path": path,
            "query_string": query.encode("ascii"),
            "headers": [
                (b"content-length", str(len(exchange.body)).encode()),
                *(
                    [(b"content-type", exchange.content_type.encode())]
                    * bool(exchange.content_type)
                ),
                *headers,
            ],
        }
        middle = len(exchange.body) // 2
        pieces = [(exchange.body[middle:], False), (exchange.body[:middle], True)]
        answer = Answer(0, {}, b"")
        never = leave or asyncio.Event()

        async def receive() -> dict[str, Any]:
            if pieces:
                body, more = pieces.pop()
                return {"type": "http.request", "body": body, "more_body": more}
            await never.wait()
            return {"type": "http.disconnect"}

        async def send(event: Any) -> None:
            if event["type"] == "http.response.start":
                answer.status, answer.headers = event["status"], dict(event["headers"])
            else:
                answer.body += event.get("body", b"")

        app = app_of(self.service, self.protocol(self.service).routes())
        await asyncio.wait_for(app(scope, receive, send), PATIENCE_S)
        return answer


class ProtocolContract(Contract):
    """The clauses for `serve/protocols/`."""

    registry = PROTOCOLS

    def check_every_way_gives_the_same_prediction(self, protocol: Any) -> None:
        """Raw, form, base64 or tensor: the Prediction is the predictor's own."""

        async def run(mounted: Mounted) -> None:
            for encoded in (picture("PNG"), picture("JPEG", (9, 200, 60)), picture("WEBP")):
                expected = mounted.predictor.recognize(encoded, 3)
                for way, exchange in mounted.exchanges(encoded).items():
                    answer = await mounted.ask(exchange)
                    assert answer.status == 200, f"{way}: {answer.status} {answer.body[:200]!r}"
                    got = mounted.protocol.prediction(answer.body)
                    assert got.labels == expected.labels, way
                    assert got.accepted == expected.accepted, way
                    assert np.allclose(got.scores, expected.scores, rtol=0, atol=1e-6), way

        mount(protocol, run)

    def check_every_error_is_mapped(self, protocol: Any) -> None:
        """Each error of the table has its own status and a body, and no internals."""

        async def run(mounted: Mounted) -> None:
            exchange = next(iter(mounted.exchanges(picture("PNG")).values()))
            for kind, status in STATUSES.items():
                error = kind.__new__(kind)
                Exception.__init__(error, "said to the client")
                error.retry_after_s = 3.2  # type: ignore[attr-defined]
                mounted.service.submit = raiser(error)  # type: ignore[method-assign]
                answer = await mounted.ask(exchange)
                expected = 0 if status.http == 499 else status.http
                assert answer.status == expected, f"{kind.__name__}: {answer.status}"
                assert not expected or answer.body, f"{kind.__name__}: empty body"
                if expected == 503:
                    assert answer.headers[b"retry-after"] == b"4"
            secret = RuntimeError("/secret/path.py line 3")
            mounted.service.submit = raiser(secret)  # type: ignore[method-assign]
            answer = await mounted.ask(exchange)
            assert answer.status == 500
            assert answer.body
            assert b"secret" not in answer.body, "an internal error's words reach the client"
            assert b"RuntimeError" not in answer.body

        mount(protocol, run)

    def check_bad_pictures_are_refused(self, protocol: Any) -> None:
        """Empty, not a picture, cut off, too many pixels: 4xx with a body, whichever way sent."""

        async def run(mounted: Mounted) -> None:
            large = picture("PNG", size=(300, 300))
            cases = {
                "empty": (b"", 400),
                "text": (b"hello, this is no picture", 415),
                "cut": (picture("JPEG")[:-200], 400),
                "pixels": (large, 413),
            }
            for case, (encoded, status) in cases.items():
                for way, exchange in mounted.exchanges(encoded).items():
                    answer = await mounted.ask(exchange)
                    assert answer.status == status, f"{case}, {way}: {answer.status}"
                    assert answer.body, f"{case}, {way}: empty body"
            assert mounted.predictor.calls == 0, "a bad picture reached the model"

        mount(protocol, run, pixels=200 * 200)

    def check_oversize_is_refused(self, protocol: Any) -> None:
        """A body beyond the limit is 413, announced or not."""

        async def run(mounted: Mounted) -> None:
            for way, exchange in mounted.exchanges(bytes(5000)).items():
                answer = await mounted.ask(exchange)
                assert answer.status == 413, f"{way}: {answer.status}"
                answer = await mounted.ask(exchange, headers=[(b"content-length", b"")])
                assert answer.status == 413, f"{way}, unannounced: {answer.status}"

        mount(protocol, run, body_bytes=2048)

    def check_malformed_is_refused(self, protocol: Any) -> None:
        """Bytes changed anywhere in any request never give a 5xx."""

        async def run(mounted: Mounted) -> None:
            generator = np.random.default_rng(7)
            for way, exchange in mounted.exchanges(picture("PNG")).items():
                for _ in range(25):
                    body = bytearray(exchange.body)
                    for at in generator.integers(0, len(body), 4):
                        body[at] = generator.integers(0, 256)
                    cut = bytes(body[: generator.integers(0, len(body) + 1)])
                    answer = await mounted.ask(replace(exchange, body=cut))
                    assert 200 <= answer.status < 500, f"{way}: {answer.status}"

        mount(protocol, run)

    def check_late_never_reaches_the_model(self, protocol: Any) -> None:
        """Past its deadline a request is answered 504 and dropped from the queue."""

        async def run(mounted: Mounted) -> None:
            exchange = next(iter(mounted.exchanges(picture("PNG")).values()))
            first = await hold(mounted, exchange)
            late = asyncio.create_task(mounted.ask(exchange))
            await asyncio.wait({late}, timeout=1)
            await release(mounted, first)
            assert mounted.predictor.calls == 1, "an expired request reached the model"
            assert (await late).status == 504, late.result().status

        mount(protocol, run, deadline_s=0.2)

    def check_cancelled_never_reaches_the_model(self, protocol: Any) -> None:
        """A request whose client left while it waited is dropped."""

        async def run(mounted: Mounted) -> None:
            exchange = next(iter(mounted.exchanges(picture("PNG")).values()))
            first = await hold(mounted, exchange)
            leave = asyncio.Event()
            second = asyncio.create_task(mounted.ask(exchange, leave))
            await asyncio.sleep(0.1)
            leave.set()
            await asyncio.wait({second}, timeout=1)
            await release(mounted, first)
            assert mounted.predictor.calls == 1, "a cancelled request reached the model"
            assert (await second).status == 0, "an answer was sent to a client that left"

        mount(protocol, run)

    def check_no_number_is_no_answer(self, protocol: Any) -> None:
        """A model that gives NaN, or raises, is a 500 on every way, never a 200."""

        async def run(mounted: Mounted) -> None:
            for score, error in ((float("nan"), None), (None, ValueError("/inside/model"))):
                mounted.predictor.broken_score, mounted.predictor.error = score, error
                for way, exchange in mounted.exchanges(picture("PNG")).items():
                    answer = await mounted.ask(exchange)
                    assert answer.status == 500, f"{way}: {answer.status}"
                    assert b"inside" not in answer.body

        mount(protocol, run)

    def broken(self) -> dict[str, Any]:
        """One planted violation a clause."""
        return {
            "check_every_way_gives_the_same_prediction": WorstFirst,
            "check_every_error_is_mapped": Talkative,
            "check_bad_pictures_are_refused": NeverFails,
            "check_oversize_is_refused": Unbounded,
            "check_malformed_is_refused": Brittle,
            "check_late_never_reaches_the_model": Stubborn,
            "check_cancelled_never_reaches_the_model": Stubborn,
            "check_no_number_is_no_answer": NeverFails,
        }


def picture(
    encoding: str, colour: tuple[int, int, int] = (200, 30, 60), size: tuple[int, int] = (33, 21)
) -> bytes:
    """Return an encoded picture of one colour with some texture in it."""
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[:] = colour
    pixels[::3, ::2] //= 2
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, encoding)
    return stream.getvalue()


def mount(
    protocol: Any, run: Callable[[Mounted], Coroutine[Any, Any, None]], **limits: Any
) -> None:
    """Run a clause's coroutine against a fresh Service with one worker."""
    asyncio.run(_mounted(protocol, run, limits))


async def _mounted(protocol: Any, run: Any, limits: dict[str, Any]) -> None:
    async with _service(limits) as (service, predictor):
        await run(Mounted(protocol, service, predictor))


@asynccontextmanager
async def _service(limits: dict[str, Any]) -> AsyncIterator[tuple[Service, WatchedPredictor]]:
    predictor = WatchedPredictor()
    service = Service([Model("watched", "1", predictor)], ServiceLimits(workers=1, **limits))
    try:
        yield service, predictor
    finally:
        predictor.go.set()
        await asyncio.to_thread(service.close)


async def hold(mounted: Mounted, exchange: Exchange) -> asyncio.Task[Answer]:
    """Start a request and return when the only worker is busy with it."""
    mounted.predictor.go.clear()
    first = asyncio.create_task(mounted.ask(exchange))
    assert await asyncio.to_thread(mounted.predictor.started.wait, PATIENCE_S)
    return first


async def release(mounted: Mounted, first: asyncio.Task[Answer]) -> None:
    """Let the worker go on and wait until the queue is empty."""
    mounted.predictor.go.set()
    await first
    ends = time.monotonic() + PATIENCE_S
    while mounted.service.queue.waiting() and time.monotonic() < ends:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


def raiser(error: Exception) -> Callable[..., Any]:
    """Return a function that raises `error` whatever it is called with."""

    def raising(*args: Any, **kwargs: Any) -> Any:
        raise error

    return raising
