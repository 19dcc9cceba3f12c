"""POST /v1/explain: why a picture got its label; bounded in number, time and memory."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from clearsight.core.errors import UsageError, nearest
from clearsight.core.nouns import ImagesNHWC, Predictor, Scores
from clearsight.engines.predictor import BundlePredictor
from clearsight.serve.answers import answers
from clearsight.serve.calls import Call
from clearsight.serve.errors import (
    ClientLeftError,
    ExpiredError,
    ImpossibleRequestError,
    NotReadyError,
    OverloadedError,
)
from clearsight.serve.http_messages import Request
from clearsight.serve.models import Model
from clearsight.serve.uploads import read_upload

if TYPE_CHECKING:
    from clearsight.core.nouns import Prediction
    from clearsight.explain.class_evidence import ClassEvidence, LinearHead
    from clearsight.explain.subject import Subject
    from clearsight.serve.service import Service

WAITING = 8
"""Explanations that may wait while one is made; each costs hundreds of passes of the model."""
RETRY_S = 2.0


@dataclass(frozen=True)
class Wish:
    """What a client wants explained.

    Args:
        method: key of an explainer that needs no gradients, or "auto".
        label, against: class names; see `explain.explain.ask`.
    """

    method: str = "auto"
    label: str | None = None
    against: str | None = None


class Explaining:
    """Explains one picture at a time, without torch, within the request's deadline.

    Args:
        service: recognizes the picture first, with its admission, quotas and limits.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._place = asyncio.Semaphore(1)
        self._waiting = 0
        self._heads: WeakKeyDictionary[Any, LinearHead | None] = WeakKeyDictionary()

    async def explain(
        self, request: Request, call: Call, wish: Wish
    ) -> tuple[Model, Prediction, dict[str, Any]]:
        """Recognize and explain the picture of a request.

        Args:
            request: its body holds one picture.
            call: its options, without pictures.
            wish: what to explain.

        Returns:
            The model that answered, its Prediction, and the explanation for JSON.

        Raises:
            ImpossibleRequestError: several pictures, an unknown class or method.
            OverloadedError: too many explanations wait.
            ExpiredError, ClientLeftError: nobody needs the answer any more.
            RequestError, ImageError: as `Service.submit`.
        """
        self._check_room()
        self._check(wish)
        self.service.admit(call)
        upload = await read_upload(request)
        if len(upload.pictures) != 1:
            raise ImpossibleRequestError(
                f"One picture is explained at a time, got {len(upload.pictures)}. Send several "
                "requests."
            )
        began = time.monotonic()
        ticket = self.service.submit(replace(call, pictures=upload.pictures))
        (outcome,) = await answers(ticket, request.left())
        if isinstance(outcome, BaseException):
            raise outcome
        predictor = ticket.model.predictor  # held here: it stays even if the model is unloaded
        if predictor is None:
            raise NotReadyError("The model was unloaded in this moment. Try again.")
        ends = began + ticket.deadline_s
        told = await self._in_turn(request, predictor, upload.pictures[0], wish, ends)
        return ticket.model, outcome, told

    def _check_room(self) -> None:
        """Let a picture in, before it is read and again before it waits.

        Raises:
            OverloadedError: too many wait.
        """
        if self._waiting >= WAITING:
            raise OverloadedError("Too many explanations wait. Try again later.", RETRY_S)

    def _check(self, wish: Wish) -> None:
        """Accept a method that works here.

        Raises:
            ImpossibleRequestError: it does not.
        """
        if wish.method == "auto":
            return
        from clearsight.serve.openapi_explain import methods

        if wish.method not in methods():
            hint = nearest(wish.method[:40], methods())
            raise ImpossibleRequestError(
                f"The method {wish.method[:40]!r} is not offered by the service.{hint}"
            )

    async def _in_turn(
        self, request: Request, predictor: Predictor, picture: bytes, wish: Wish, ends: float
    ) -> dict[str, Any]:
        """Wait for the place, then explain beside the event loop until the client leaves."""
        self._check_room()
        self._waiting += 1
        try:
            async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                await self._place.acquire()
        except TimeoutError as error:
            raise ExpiredError("The deadline passed before there was an answer.") from error
        finally:
            self._waiting -= 1
        gone = threading.Event()
        left = asyncio.ensure_future(request.left())
        left.add_done_callback(lambda task: None if task.cancelled() else gone.set())
        try:
            limits = self.service.limits
            work = _Work(predictor, wish, ends, gone, (limits.body_bytes, limits.pixels))
            return await asyncio.to_thread(work.run, picture, self._subject(predictor))
        finally:
            gone.set()  # where this was cancelled the thread ends too
            left.cancel()
            self._place.release()

    def _subject(self, predictor: Predictor) -> Subject:
        """Return the recognizer as explainers see it.

        Its head is kept while the model is in memory, and nothing that holds the model itself.
        """
        from clearsight.explain.class_evidence import linear_head
        from clearsight.explain.subject import Subject

        def find_evidence() -> ClassEvidence | None:
            if not isinstance(predictor, BundlePredictor):
                return None
            if predictor not in self._heads:
                self._heads[predictor] = linear_head(predictor)
            head = self._heads[predictor]
            return None if head is None else head.evidence(predictor)

        return Subject(
            predictor.classes,
            predictor.preprocessing,
            predictor.logits,
            predictor.task,
            find_evidence=find_evidence,
        )


@dataclass(frozen=True)
class _Work:
    """One explanation on a thread; it ends with its deadline or when the client leaves."""

    predictor: Predictor
    wish: Wish
    ends: float
    gone: threading.Event
    limits: tuple[int, int]

    def run(self, picture: bytes, subject: Subject) -> dict[str, Any]:
        """Return what JSON tells about the picture."""
        from clearsight.data.decode import Limits, decode
        from clearsight.explain.explain import ask, choose_method, explain, make_explainer
        from clearsight.explain.heat import heat, png

        guarded = replace(
            subject,
            logits=self._guarded(subject.logits),
            find_evidence=lambda: subject.evidence,
        )
        image = self.predictor.prepare(picture)[None]
        probabilities = self._guarded(self.predictor.probabilities)
        try:
            question = ask(
                self._class_number, probabilities(image), self.wish.label, self.wish.against
            )
            method = self.wish.method
            if method == "auto":
                method = choose_method(guarded, image, torch=False)
            explainer = make_explainer(method)
            (found,) = explain(guarded, probabilities, image, question, method, explainer)
        except UsageError as error:
            raise ImpossibleRequestError(str(error)) from error
        pixels = decode(picture, Limits(*self.limits))
        size = (pixels.shape[0], pixels.shape[1])
        layer = heat(found.map_hw, self.predictor.preprocessing, size)
        content = base64.b64encode(png(layer)).decode("ascii")
        return {**found.to_json(guarded, size), "map": content}

    def _guarded(self, run: Callable[[ImagesNHWC], Scores]) -> Callable[[ImagesNHWC], Scores]:
        """Return the same function, run in short pieces, that stops when nobody waits."""

        def guarded(images: ImagesNHWC) -> Scores:
            found = []
            for start in range(0, len(images), 16):
                if self.gone.is_set():
                    raise ClientLeftError("The client closed the connection before the answer.")
                if time.monotonic() > self.ends:
                    raise ExpiredError("The deadline passed before there was an answer.")
                found.append(run(images[start : start + 16]))
            return np.concatenate(found)

        return guarded

    def _class_number(self, name: str) -> int:
        classes = list(self.predictor.classes)
        if name not in classes:
            raise UsageError(f"Unknown class {name[:80]!r}.{nearest(name[:80], classes)}")
        return classes.index(name)
