"""What a worker does: takes pictures that wait and runs them to completion."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import ImageError
from clearsight.core.nouns import ImageHWC, ImagesNHWC, Prediction, Predictor, Scores
from clearsight.data.decode import Limits, check_limits, read_header
from clearsight.data.preprocess import prepare
from clearsight.engines.predictor import BundlePredictor, Recognized
from clearsight.serve import log
from clearsight.serve.calls import Job, Observation, Observer
from clearsight.serve.errors import ModelFailedError
from clearsight.serve.fair_queue import FairQueue
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.models import Model, Models
from clearsight.serve.shadows import Shadows

SHADOW_S = 10.0  # a shadow that has not started by then is of no use
Embedding = NDArray[np.float32]


@dataclass(slots=True)
class _Prepared:
    job: Job
    image: ImageHWC
    decode_s: float


@dataclass(frozen=True, slots=True)
class _Batch:
    predictor: Predictor
    started: float
    infer_s: float
    size: int


class Work:
    """The loop of every worker of a service.

    Args:
        queue: where pictures wait.
        limits: bounds of a picture.
        models: knows which version looks on.
        shadows: is told what it would have said.

    Attributes:
        observers: told of every picture.
        embed: feature vectors are computed for the observers.
    """

    def __init__(
        self, queue: FairQueue, limits: ServiceLimits, models: Models, shadows: Shadows
    ) -> None:
        self._queue, self._models, self._shadows = queue, models, shadows
        self._limits = Limits(limits.body_bytes, limits.pixels)
        self.observers: list[Observer] = []
        self.embed = False

    def run(self) -> None:
        """Take and run pictures until the queue is closed and empty."""
        while (jobs := self._queue.take()) is not None:
            started = time.monotonic()
            try:
                self._run(jobs, started)
            finally:
                self._queue.done(jobs, time.monotonic() - started)

    def _run(self, jobs: Sequence[Job], started: float) -> None:
        predictor = jobs[0].model.predictor
        assert predictor is not None  # the queue keeps it loaded until `done`
        prepared = [p for job in jobs if (p := self._prepared(job, predictor, started))]
        if not prepared:
            return
        begun = time.monotonic()
        try:
            images = np.stack([p.image for p in prepared])
            seen = _recognized(predictor, images, self.embed)
        except Exception as error:  # noqa: BLE001 - becomes each picture's typed error
            for p in prepared:
                self._fail(p.job, error, started)
            return
        batch = _Batch(predictor, started, time.monotonic() - begun, len(prepared))
        for index, p in enumerate(prepared):
            self._answer(p, batch, seen, index)

    def _prepared(self, job: Job, predictor: Predictor, started: float) -> _Prepared | None:
        if not job.future.set_running_or_notify_cancel():
            return None
        begun = time.monotonic()
        try:
            if isinstance(job.picture, bytes):
                check_limits(read_header(job.picture), len(job.picture), self._limits)
                image = predictor.prepare(job.picture)
            else:
                image = prepare(job.picture, predictor.preprocessing)
        except Exception as error:  # noqa: BLE001 - becomes the picture's typed error
            self._fail(job, error, started)
            return None
        return _Prepared(job, image, time.monotonic() - begun)

    def _answer(
        self, prepared: _Prepared, batch: _Batch, seen: Recognized | Scores, index: int
    ) -> None:
        job = prepared.job
        embedding: Embedding | None = None
        try:
            if isinstance(seen, Recognized):
                prediction = _prediction(batch.predictor, seen, index, job.top)
                embedding = None if seen.embeddings is None else seen.embeddings[index]
            else:
                prediction = batch.predictor.prediction(seen[index], job.top)
            if not all(0.0 <= score <= 1.0 for score in prediction.scores):  # NaN is in no range
                raise ModelFailedError(
                    "The model gave scores that are no probabilities for this picture."
                )
        except Exception as error:  # noqa: BLE001 - becomes the picture's typed error
            self._fail(job, error, batch.started)
            return
        self._tell(  # first: who has an answer finds it counted
            _observed(
                job,
                batch.started,
                prediction=prediction,
                decode_s=prepared.decode_s,
                infer_s=batch.infer_s,
                batch=batch.size,
                embedding=embedding,
            )
        )
        job.future.set_result(prediction)
        if job.answered is not None:
            self._shadows.compare(job.model, *job.answered, prediction)
        elif (onlooker := self._models.shadow(job.model)) is not None and onlooker.loaded:
            self._queue.put_if_idle(_shadow_of(job, onlooker, prediction))

    def _fail(self, job: Job, error: Exception, started: float) -> None:
        told = self._typed(job, error)
        self._tell(_observed(job, started, error=told))
        job.future.set_exception(told)

    def _tell(self, seen: Observation) -> None:
        for observer in self.observers:
            try:
                observer(seen)
            except Exception as error:  # noqa: BLE001 - the answer must go out
                log.failure("an observer failed", error)

    def _typed(self, job: Job, error: Exception) -> Exception:
        if isinstance(error, ImageError):
            return error
        log.failure("model failed", error, model=job.model.name, version=job.model.version)
        if isinstance(error, ModelFailedError):
            return error
        return ModelFailedError("The model failed on this picture.")


def _observed(job: Job, started: float, **told: Any) -> Observation:
    fields = {"prediction": None, "error": None, "decode_s": 0.0, "infer_s": 0.0, "batch": 1}
    return Observation(
        request_id=job.request_id,
        model=job.model.name,
        version=job.model.version,
        caller_id=job.caller.id,
        queue_s=started - job.queued,
        shadow=job.answered is not None,
        **{**fields, **told},
    )


def _recognized(predictor: Predictor, images: ImagesNHWC, embed: bool) -> Recognized | Scores:
    """Return all that a Bundle says of the pictures; of other predictors the probabilities."""
    if isinstance(predictor, BundlePredictor):
        return predictor.recognized(images, embed)
    return predictor.probabilities(images)


def _prediction(predictor: Predictor, seen: Recognized, index: int, top: int) -> Prediction:
    assert isinstance(predictor, BundlePredictor)  # nothing else gives Recognized
    familiarity = None if seen.familiarity is None else float(seen.familiarity[index])
    return predictor.prediction(seen.probabilities[index], top, familiarity)


def _shadow_of(job: Job, onlooker: Model, prediction: Prediction) -> Job:
    now = time.monotonic()
    return Job(
        onlooker,
        job.picture,
        job.top,
        "shadow",
        now + SHADOW_S,
        now,
        job.caller,
        job.request_id,
        answered=(job.model.version, prediction),
    )
