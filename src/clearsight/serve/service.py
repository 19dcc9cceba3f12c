"""The service without a transport: models, a bounded queue, and workers that run to completion.

One worker takes one picture from its bytes to its labels (decode, resize, infer, top-k), so a
request crosses threads twice and nothing waits for a batch. Protocols in `protocols/` bring
requests in and carry Predictions out; they share this one Service.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.errors import ImageError
from clearsight.core.nouns import Prediction, Predictor
from clearsight.data.decode import Limits, check_limits, read_header
from clearsight.serve import log
from clearsight.serve.errors import (
    ExpiredError,
    ImpossibleRequestError,
    ModelFailedError,
    NotReadyError,
    OverloadedError,
    StartError,
    UnknownModelError,
)
from clearsight.serve.metrics import Metrics

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
SMOOTHING = 0.1  # share of the newest run in the running mean of run times


class ServiceLimits(Config):
    """What one service takes on; everything beyond is refused, never squeezed in.

    Args:
        workers: threads that run pictures; 0 means one a core.
        queue: pictures that may wait at the same time.
        deadline_s: seconds from a request's arrival after which nobody needs the answer.
        body_bytes: largest request body.
        buffered_bytes: all request bodies that are held at the same time.
        pixels: largest picture, read from its header before decoding.
        pictures: most pictures in one request.
        top: most labels in one answer.
        header_s, body_s: seconds in which a request's head and its body must arrive.
        idle_s: seconds after which a connection without a request is closed.
        drain_s: seconds that a stop waits for requests in flight.
        linger_s: seconds between "not ready" and closing the door, so that balancers notice.
    """

    workers: int = Field(default=0, ge=0, le=1024)
    queue: int = Field(default=64, ge=1, le=100_000)
    deadline_s: float = Field(default=30.0, gt=0, le=3600)
    body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    buffered_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    pixels: int = Field(default=50_000_000, ge=1)
    pictures: int = Field(default=32, ge=1, le=1000)
    top: int = Field(default=1000, ge=1)
    header_s: float = Field(default=10.0, gt=0)
    body_s: float = Field(default=30.0, gt=0)
    idle_s: float = Field(default=30.0, gt=0)
    drain_s: float = Field(default=30.0, gt=0)
    linger_s: float = Field(default=0.5, ge=0)


@dataclass(frozen=True, slots=True)
class Model:
    """One served recognizer.

    Args:
        name: how requests call it.
        version: the Bundle's id, or "0" for a predictor without one.
        predictor: opened and ready; thread-safe.
    """

    name: str
    version: str
    predictor: Predictor


@dataclass(slots=True)
class _Job:
    model: Model
    encoded: bytes
    top: int
    deadline: float
    future: Future[Prediction]


class Service:
    """Recognizes pictures for any number of protocols at once.

    Args:
        models: what is served, in order; names must differ.
        limits: see `ServiceLimits`.

    Raises:
        StartError: no model, a name that cannot be served, or two models of one name.

    Example:
        >>> service = Service([Model("shoes", "1", predictor)])      # doctest: +SKIP
        >>> service.submit(service.model("shoes"), [jpeg])[0].result().label  # doctest: +SKIP
        'sneaker'
    """

    def __init__(self, models: Sequence[Model], limits: ServiceLimits | None = None) -> None:
        self.limits = limits or ServiceLimits()
        self.models = _by_name(models)
        self._picture_limits = Limits(self.limits.body_bytes, self.limits.pixels)
        self.ready = True
        self._closed = False
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._mean_run_s = 0.0
        self.metrics = Metrics(queue_depth=lambda: len(self._jobs))
        count = self.limits.workers or _cores()
        self._workers = [
            threading.Thread(target=self._work, name=f"clearsight-worker-{i}", daemon=True)
            for i in range(count)
        ]
        for worker in self._workers:
            worker.start()

    def model(self, name: str | None = None) -> Model:
        """Return a served model; the name may be left out where only one is served.

        Raises:
            UnknownModelError: no model has this name.
            ImpossibleRequestError: no name was given and several models are served.
        """
        if name is None:
            if len(self.models) > 1:
                raise ImpossibleRequestError(
                    "Several models are served: say which one with ?model=NAME. "
                    f"Allowed: {', '.join(sorted(self.models))}."
                )
            return next(iter(self.models.values()))
        if name not in self.models:
            raise UnknownModelError(name, self.models)
        return self.models[name]

    def submit(
        self, model: Model, pictures: Sequence[bytes], top: int = 5, deadline_s: float | None = None
    ) -> list[Future[Prediction]]:
        """Queue the pictures of one request, all of them or none.

        Args:
            model: from `model`.
            pictures: encoded pictures.
            top: how many labels; more than the model's classes gives all of them.
            deadline_s: seconds from now; the service's own deadline where None.

        Returns:
            One future a picture. It ends with a Prediction, or with ImageError, ExpiredError or
            ModelFailedError.
            A future cancelled while it waits leaves the queue and never reaches the model.

        Raises:
            ImpossibleRequestError: no picture, more than the limit, or `top` out of range.
            OverloadedError: no room in the queue, or the wait would pass the deadline.
            NotReadyError: the service is stopping.
        """
        self._check(pictures, top)
        seconds = self.limits.deadline_s if deadline_s is None else deadline_s
        deadline = time.monotonic() + seconds
        jobs = [_Job(model, encoded, top, deadline, Future()) for encoded in pictures]
        with self._changed:
            if self._closed:
                raise NotReadyError("The service is stopping. Ask another instance.")
            self._admit(len(jobs), seconds)
            self._jobs.extend(jobs)
            self._changed.notify(len(jobs))
        for job in jobs:
            job.future.add_done_callback(partial(self._forget, job))
        return [job.future for job in jobs]

    def close(self) -> None:
        """Take no more requests, finish what is queued, end the workers."""
        self.ready = False
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _check(self, pictures: Sequence[bytes], top: int) -> None:
        if not pictures:
            raise ImpossibleRequestError("The request holds no picture. Send at least one.")
        if len(pictures) > self.limits.pictures:
            raise ImpossibleRequestError(
                f"The request holds {len(pictures)} pictures; at most {self.limits.pictures} "
                "are taken at once. Send several requests."
            )
        if not 1 <= top <= self.limits.top:
            raise ImpossibleRequestError(f"'top' must be 1 to {self.limits.top}, got {top}.")

    def _admit(self, count: int, seconds: float) -> None:
        waiting = len(self._jobs)
        rounds = math.ceil((waiting + count) / len(self._workers))
        if waiting + count > max(self.limits.queue, count if not waiting else 0):
            raise OverloadedError("The queue is full. Try again later.", rounds * self._mean_run_s)
        if waiting and rounds * self._mean_run_s > seconds:
            raise OverloadedError(
                "The answer would come after the deadline. Try again later.",
                rounds * self._mean_run_s - seconds,
            )

    def _forget(self, job: _Job, future: Future[Prediction]) -> None:
        if not future.cancelled():
            return
        self.metrics.cancelled.inc()
        with self._changed:
            try:
                self._jobs.remove(job)
            except ValueError:
                return  # a worker holds it already and will see that it was cancelled

    def _work(self) -> None:
        while (job := self._take()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                result = self._run(job)
            except Exception as error:  # noqa: BLE001 - becomes the future's typed error
                job.future.set_exception(self._typed(job, error))
            else:
                job.future.set_result(result)

    def _take(self) -> _Job | None:
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return None
                self._changed.wait()
            return self._jobs.popleft()

    def _run(self, job: _Job) -> Prediction:
        started = time.monotonic()
        if started > job.deadline:
            self.metrics.expired.inc()
            raise ExpiredError("The deadline passed while the request waited. Try again later.")
        self._gate(job.encoded)
        prediction = job.model.predictor.recognize(job.encoded, job.top)
        if not all(0.0 <= score <= 1.0 for score in prediction.scores):  # NaN is in no range
            raise ModelFailedError(
                "The model gave scores that are no probabilities for this picture."
            )
        seconds = time.monotonic() - started
        self._mean_run_s += (seconds - self._mean_run_s) * (SMOOTHING if self._mean_run_s else 1)
        self.metrics.run_seconds.observe(seconds)
        return prediction

    def _gate(self, encoded: bytes) -> None:
        check_limits(read_header(encoded), len(encoded), self._picture_limits)

    def _typed(self, job: _Job, error: Exception) -> Exception:
        if isinstance(error, (ImageError, ExpiredError)):
            return error
        log.failure("model failed", error, model=job.model.name)
        if isinstance(error, ModelFailedError):
            return error
        return ModelFailedError("The model failed on this picture.")


def _by_name(models: Sequence[Model]) -> dict[str, Model]:
    if not models:
        raise StartError("There is no model to serve. Give at least one RUN or Bundle folder.")
    found: dict[str, Model] = {}
    for model in models:
        if not MODEL_NAME.fullmatch(model.name):
            raise StartError(
                f"A model cannot be called {model.name!r}: 1 to 64 of a-z, 0-9, '_', '.', '-', "
                "starting with a letter or digit."
            )
        if model.name in found:
            raise StartError(f"Two models are called {model.name!r}. Rename one of the folders.")
        found[model.name] = model
    return found


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
