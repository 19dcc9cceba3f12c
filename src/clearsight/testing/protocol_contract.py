"""What every protocol of the service must satisfy, whatever it travels over.

A clause gets a protocol class, mounts it on a Service around a predictor that can be watched and
held, and talks to it through `protocol_channels`: the same requests, the same errors, the same
Predictions.
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

from clearsight.core.nouns import (
    PRESENT,
    TASKS,
    ImageHWC,
    ImagesNHWC,
    Prediction,
    Preprocessing,
    Scores,
    Task,
)
from clearsight.data.preprocess import prepare_encoded
from clearsight.serve.access.caller import NOBODY, SCOPES, Caller
from clearsight.serve.errors import (
    BodyTooLargeError,
    ExpiredError,
    ForbiddenError,
    ModelFailedError,
    UnauthorizedError,
)
from clearsight.serve.protocols import PROTOCOLS, Answer, Exchange
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.serve.status import IMAGE_STATUSES, STATUSES, UNEXPECTED, Status
from clearsight.testing.contract import Contract
from clearsight.testing.protocol_channels import NOTHING, PATIENCE_S, Channel, channel_to
from clearsight.testing.protocol_violations import VIOLATIONS

LABELS = ("red", "green", "blue", "</script><b>猫")


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
    likely: tuple[str, ...] | None = None

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
        present, rank = None, None
        if self.task == "multi-label":
            present = tuple(LABELS[i] for i in order if probabilities[i] >= PRESENT)
        elif self.task == "ordinal":
            rank = float(np.arange(len(LABELS)) @ probabilities.astype(np.float64))
        labels = tuple(LABELS[i] for i in order)
        return Prediction(labels, scores, bool(scores[0] > 0.5), present, rank, self.likely)


@dataclass
class Mounted:
    """A protocol on a Service around a WatchedPredictor."""

    protocol: Any
    service: Service
    predictor: WatchedPredictor
    channel: Channel

    def exchanges(self, encoded: bytes, top: int = 5) -> dict[str, Exchange]:
        """Return every way to send one picture."""
        exchanges: dict[str, Exchange] = self.protocol.exchanges(encoded, top, "watched")
        assert exchanges, "the protocol shows no way to send a picture"
        return exchanges

    async def ask(
        self, exchange: Exchange, leave: asyncio.Event | None = None, announced: bool = True
    ) -> Answer:
        """Send one request; the client leaves when `leave` is set."""
        return await self.channel.ask(exchange, leave, announced)

    def expects(self, answer: Answer, status: Status, where: str) -> None:
        """Pass when an answer is that of a row of the table of errors, and says something."""
        assert answer.code == self.channel.code(status), f"{where}: {answer.code!r}"
        assert not answer.code or answer.body, f"{where}: empty body"


class ProtocolContract(Contract):
    """The clauses for `serve/protocols/`."""

    registry = PROTOCOLS

    def check_every_way_gives_the_same_prediction(self, protocol: Any) -> None:
        """Raw, form, base64 or tensor, over HTTP or gRPC: the Prediction is the predictor's own."""

        async def run(mounted: Mounted) -> None:
            kinds = [*zip(TASKS, PICTURES, SETS, strict=True), (TASKS[0], PICTURES[0], None)]
            for task, encoded, likely in kinds:
                mounted.predictor.task, mounted.predictor.likely = task, likely
                for top in (3, 5):
                    expected = mounted.predictor.recognize(encoded, top)
                    for way, exchange in mounted.exchanges(encoded, top).items():
                        answer = await mounted.ask(exchange)
                        told = f"{way}: {answer.code} {answer.body[:200]!r}"
                        assert mounted.channel.succeeded(answer), told
                        same(mounted.protocol.prediction(answer), expected, way)

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
                mounted.expects(answer, status, kind.__name__)
                if status.http == 503:
                    assert answer.headers["retry-after"] == "4"
            secret = RuntimeError("/secret/path.py line 3")
            mounted.service.submit = raiser(secret)  # type: ignore[method-assign]
            answer = await mounted.ask(exchange)
            mounted.expects(answer, UNEXPECTED, "an error that is not in the table")
            assert b"secret" not in answer.body, "an internal error's words reach the client"
            assert b"RuntimeError" not in answer.body

        mount(protocol, run)

    def check_keys_are_asked_for(self, protocol: Any) -> None:
        """Where keys are needed, none, a wrong one and one without the scope are refused."""

        async def run(mounted: Mounted) -> None:
            mounted.service.access = Locked()
            unauthorized, forbidden = STATUSES[UnauthorizedError], STATUSES[ForbiddenError]
            for way, exchange in mounted.exchanges(picture("PNG")).items():
                mounted.expects(await mounted.ask(exchange), unauthorized, f"{way}, no key")
                for key, status in ((b"wrong", unauthorized), (b"metrics", forbidden)):
                    answer = await mounted.ask(with_key(exchange, key.decode()))
                    mounted.expects(answer, status, f"{way}, {key!r}")
                assert mounted.predictor.calls == 0, "a request without a key reached the model"
                for name in ("authorization", "x-api-key"):
                    answer = await mounted.ask(with_key(exchange, "recognize", name))
                    assert mounted.channel.succeeded(answer), f"{way}: {answer}"
                mounted.predictor.calls = 0

        mount(protocol, run)

    def check_bad_pictures_are_refused(self, protocol: Any) -> None:
        """Empty, not a picture, cut off, too many pixels: refused in words, whichever way sent."""

        async def run(mounted: Mounted) -> None:
            cases = {
                "empty": b"",
                "format": b"hello, this is no picture",
                "undecodable": picture("JPEG")[:-200],
                "pixels": picture("PNG", size=(300, 300)),
            }
            for case, encoded in cases.items():
                for way, exchange in mounted.exchanges(encoded).items():
                    answer = await mounted.ask(exchange)
                    mounted.expects(answer, IMAGE_STATUSES[case], f"{case}, {way}")
            assert mounted.predictor.calls == 0, "a bad picture reached the model"

        mount(protocol, run, pixels=200 * 200)

    def check_oversize_is_refused(self, protocol: Any) -> None:
        """A body beyond the limit is refused as such, announced or not."""

        async def run(mounted: Mounted) -> None:
            too_large = STATUSES[BodyTooLargeError]
            for way, exchange in mounted.exchanges(bytes(5000)).items():
                for announced in (True, False):
                    answer = await mounted.ask(exchange, announced=announced)
                    mounted.expects(answer, too_large, f"{way}, announced: {announced}")

        mount(protocol, run, body_bytes=2048)

    def check_malformed_is_refused(self, protocol: Any) -> None:
        """Bytes changed anywhere in any request are never taken for the service's own failure."""

        async def run(mounted: Mounted) -> None:
            generator = np.random.default_rng(7)
            for way, exchange in mounted.exchanges(picture("PNG")).items():
                for _ in range(25):
                    body = bytearray(exchange.body)
                    for at in generator.integers(0, len(body), 4):
                        body[at] = generator.integers(0, 256)
                    cut = bytes(body[: generator.integers(0, len(body) + 1)])
                    answer = await mounted.ask(replace(exchange, body=cut))
                    told = mounted.channel.succeeded(answer) or mounted.channel.refused(answer)
                    assert told, f"{way}: {answer.code} {answer.body[:200]!r}"

        mount(protocol, run)

    def check_late_never_reaches_the_model(self, protocol: Any) -> None:
        """Past its deadline a request is answered as expired and dropped from the queue."""

        async def run(mounted: Mounted) -> None:
            exchange = next(iter(mounted.exchanges(picture("PNG")).values()))
            first = await hold(mounted, exchange)
            late = asyncio.create_task(mounted.ask(exchange))
            await asyncio.wait({late}, timeout=1)
            await release(mounted, first)
            assert mounted.predictor.calls == 1, "an expired request reached the model"
            mounted.expects(await late, STATUSES[ExpiredError], "late")

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
            ends = time.monotonic() + 1
            while mounted.service.queue.waiting() and time.monotonic() < ends:
                await asyncio.sleep(0.01)
            await release(mounted, first)
            assert mounted.predictor.calls == 1, "a cancelled request reached the model"
            assert await second == NOTHING, "an answer was sent to a client that left"

        mount(protocol, run)

    def check_no_number_is_no_answer(self, protocol: Any) -> None:
        """A model that gives NaN, or raises, is the service's failure on every way."""

        async def run(mounted: Mounted) -> None:
            for score, error in ((float("nan"), None), (None, ValueError("/inside/model"))):
                mounted.predictor.broken_score, mounted.predictor.error = score, error
                for way, exchange in mounted.exchanges(picture("PNG")).items():
                    answer = await mounted.ask(exchange)
                    mounted.expects(answer, STATUSES[ModelFailedError], way)
                    assert b"inside" not in answer.body

        mount(protocol, run)

    def broken(self) -> dict[str, Any]:
        """One planted violation a clause."""
        return VIOLATIONS


class Locked:
    """The access of a service whose keys are the names of scopes."""

    def caller(self, token: str | None, address: str) -> Caller:
        """Return who holds the key that is called like a scope."""
        if token is None:
            return NOBODY
        if token not in SCOPES:
            raise UnauthorizedError("This is no key.")
        return Caller("0123456789ab", "", frozenset({token}))

    def charge(self, caller: Caller, pictures: int) -> None:
        """Count nothing."""

    def give_back(self, caller: Caller, pictures: int) -> None:
        """Count nothing."""


def with_key(exchange: Exchange, key: str, header: str = "authorization") -> Exchange:
    """Return a request that carries a key."""
    value = f"Bearer {key}" if header == "authorization" else key
    return replace(exchange, headers=(*exchange.headers, (header, value)))


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


SETS = (LABELS[::-1], None, ())
"""What stands in a Prediction's `set`, by task: more than was asked for, none, an empty one."""
PICTURES = (picture("PNG"), picture("JPEG", (9, 200, 60)), picture("WEBP"))


def same(got: Prediction, expected: Prediction, way: str) -> None:
    """Pass when two Predictions are the same, scores as floats of 32 bits."""
    assert replace(got, scores=(), rank=None) == replace(expected, scores=(), rank=None), way
    assert np.allclose(got.scores, expected.scores, rtol=0, atol=1e-6), way
    assert (got.rank is None) == (expected.rank is None), way
    assert expected.rank is None or np.isclose(got.rank or 0.0, expected.rank), way


def mount(
    protocol: Any, run: Callable[[Mounted], Coroutine[Any, Any, None]], **limits: Any
) -> None:
    """Run a clause's coroutine against a fresh Service with one worker."""
    asyncio.run(_mounted(protocol, run, limits))


async def _mounted(protocol: Any, run: Any, limits: dict[str, Any]) -> None:
    async with _service(limits) as (service, predictor), channel_to(protocol, service) as channel:
        await run(Mounted(protocol, service, predictor, channel))


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
