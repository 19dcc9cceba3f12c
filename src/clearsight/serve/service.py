"""The service without a transport: who asks what of which model, until when.

One worker takes a picture from its bytes to its labels (decode, resize, infer, top-k), so a
request crosses threads twice and nothing waits for a batch: pictures run together only where that
was measured to be faster, and then only those that wait already. Protocols in `protocols/` bring
calls in and carry Predictions out; they share this one Service.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from clearsight.core.bundle import Bundle, open_bundle
from clearsight.core.nouns import Prediction
from clearsight.engines.session import cores
from clearsight.serve.access.caller import Access, Everybody
from clearsight.serve.calls import PRIORITIES, Call, Job, Observer, Ticket
from clearsight.serve.catalogue import Catalogue, Version
from clearsight.serve.errors import ImpossibleRequestError, RequestError
from clearsight.serve.fair_queue import FairQueue
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.loading import Loader, default_budget
from clearsight.serve.metrics import Metrics
from clearsight.serve.models import Model, Models, fixed
from clearsight.serve.opening import opener
from clearsight.serve.operations.requests import Requests
from clearsight.serve.remembered import Asked, Remembered, asked, digest_of
from clearsight.serve.shadows import Shadows
from clearsight.serve.work import Work

__all__ = ["Model", "Service", "ServiceLimits"]


class Service:
    """Recognizes pictures for any number of protocols at once.

    Args:
        models: what is served: models that are loaded already, or a catalogue to follow.
        limits: see `ServiceLimits`.
        access: knows keys and what they may use; None lets everybody in, but not to administer.
        engine: the only engine to open Bundles with; the fastest where None.

    Raises:
        StartError: no model, a name that cannot be served, or two models of one name.
        BundleError: a version that shall answer cannot be opened.

    Example:
        >>> service = Service([Model("shoes", "1", predictor)])      # doctest: +SKIP
        >>> service.recognize(Call([jpeg]))[0].label                 # doctest: +SKIP
        'sneaker'
    """

    def __init__(
        self,
        models: Sequence[Model] | Catalogue,
        limits: ServiceLimits | None = None,
        access: Access | None = None,
        engine: str | None = None,
    ) -> None:
        self.limits = limits or ServiceLimits()
        self.access = access or Everybody()
        self.metrics, self.shadows, self.requests = Metrics(), Shadows(), Requests()
        self.ready = True
        self._answers = Remembered(self.limits.remember)
        count = self.limits.workers or cores() + 1  # one prepares while another is handed over
        self.queue = FairQueue(count, self.limits.queue, self.limits.shares)
        self._loader: Loader | None = None
        if isinstance(models, Sequence):
            self.models = fixed(models)
        else:
            self.models = self._following(models, count, engine)
        self._work = Work(self.queue, self.limits, self.models, self.shadows)
        self.observe(self.metrics.observe)
        self.observe(self.requests.observe)
        self._workers = [
            threading.Thread(target=self._work.run, name=f"clearsight-worker-{i}", daemon=True)
            for i in range(count)
        ]
        for worker in self._workers:
            worker.start()

    def recognize(self, call: Call) -> list[Prediction]:
        """Answer a call and wait for it.

        Returns:
            One Prediction a picture, in order.

        Raises:
            ImageError: a picture cannot be used.
            RequestError: see `submit`, and ExpiredError and ModelFailedError of `Ticket`.
        """
        return [future.result() for future in self.submit(call).futures]

    def submit(self, call: Call) -> Ticket:
        """Admit a call, all of its pictures or none, and return where the answers will be.

        Raises:
            ImpossibleRequestError: no picture, more than the limit, `top` out of range.
            UnknownModelError, UnknownVersionError: nothing of this name is served to the caller.
            QuotaError: the caller's key has used up its share.
            OverloadedError: no room in the queue, or the answer would come after the deadline.
            NotReadyError: the service is stopping.
        """
        self._check(call)
        model = self.models.resolve(call.model, call.version, call.caller, call.id)
        seconds = self._seconds(call.deadline_s)
        self.access.charge(call.caller, len(call.pictures))
        now = time.monotonic()
        jobs = [
            Job(model, p, call.top, call.priority, now + seconds, now, call.caller, call.id)
            for p in call.pictures
        ]
        new = [job for job in jobs if not self._remembers(job)] if self.limits.remember else jobs
        try:
            if new:
                self.queue.put(new, seconds)
        except RequestError:
            self.access.give_back(call.caller, len(call.pictures))
            raise
        if new and not model.loaded and self._loader is not None:
            self._loader.ask(model)
        for job in new:
            job.future.add_done_callback(partial(self._forget, job))
        return Ticket(model, [job.future for job in jobs], seconds)

    def remembered(self, call: Call, sha256: bytes) -> tuple[Model, Prediction] | None:
        """Return the answer to a picture of this hash that the same caller was given before.

        Raises:
            UnknownModelError, UnknownVersionError, QuotaError: as `submit`.
        """
        model = self.models.resolve(call.model, call.version, call.caller, call.id)
        found = self._answers.find(asked(call.caller, model, call.top, sha256))
        if found is not None:
            self.access.charge(call.caller, 1)
        return None if found is None else (model, found)

    def admit(self, call: Call) -> None:
        """Pass when a call for one picture would be admitted now; asked before its body is read.

        Raises:
            RequestError: as `submit`.
        """
        self._check_options(call)
        model = self.models.resolve(call.model, call.version, call.caller, call.id)
        self.access.charge(call.caller, 1)  # only asked: counted when its pictures are there
        self.access.give_back(call.caller, 1)
        self.queue.admit(model, call.priority, 1, self._seconds(call.deadline_s))

    def load(self, model: Model) -> None:
        """Bring a model into memory; return when it is there.

        Raises:
            StartError: it needs more than the whole budget.
            BundleError: it cannot be opened or fails its own golden pictures.
        """
        if self._loader is not None:
            self._loader.load(model)

    def unload(self, model: Model) -> None:
        """Let a model's memory go once its waiting pictures are answered; a call loads it again."""
        if self._loader is not None:
            self._loader.retire(model)

    def observe(self, observer: Observer, embeddings: bool = False) -> None:
        """Tell an observer of every picture from now on.

        Args:
            observer: called on the worker's thread; must be quick.
            embeddings: it wants feature vectors, which every answer then computes.
        """
        self._work.observers = [*self._work.observers, observer]
        self._work.embed = self._work.embed or embeddings

    def close(self) -> None:
        """Take no more calls, finish what is queued, end the workers."""
        self.ready = False
        self.models.close()
        self.queue.close()
        for worker in self._workers:
            worker.join()
        if self._loader is not None:
            self._loader.close()

    def _following(self, catalogue: Catalogue, workers: int, engine: str | None) -> Models:
        budget = self.limits.memory_bytes or default_budget()
        open_model = opener(workers, engine, self.limits.max_drop, self.limits.drift_features)
        self._loader = Loader(open_model, self.queue, budget, self.metrics)

        def new_model(version: Version) -> Model:
            source = partial(_bundle, catalogue, version)
            return Model(version.name, version.version, tenant=version.tenant, source=source)

        try:
            models = Models(catalogue, new_model, self._loader)
        except BaseException:
            self._loader.close()
            raise
        models.watch()
        return models

    def _check(self, call: Call) -> None:
        if not call.pictures:
            raise ImpossibleRequestError("The request holds no picture. Send at least one.")
        if len(call.pictures) > self.limits.pictures:
            raise ImpossibleRequestError(
                f"The request holds {len(call.pictures)} pictures; at most {self.limits.pictures} "
                "are taken at once. Send several requests."
            )
        self._check_options(call)

    def _check_options(self, call: Call) -> None:
        if not 1 <= call.top <= self.limits.top:
            raise ImpossibleRequestError(f"'top' must be 1 to {self.limits.top}, got {call.top}.")
        if call.priority not in PRIORITIES:
            raise ImpossibleRequestError(
                f"'priority' must be one of {', '.join(PRIORITIES)}, got {call.priority[:40]!r}."
            )

    def _seconds(self, asked: float | None) -> float:
        most = self.limits.deadline_s
        if asked is None:
            return most
        if not asked > 0:
            raise ImpossibleRequestError(f"A deadline is more than 0 seconds, got {asked:g}.")
        return min(asked, most)

    def _remembers(self, job: Job) -> bool:
        """Answer a picture that was answered before; else see to it that it will be known."""
        if not isinstance(job.picture, bytes):
            return False
        question = asked(job.caller, job.model, job.top, digest_of(job.picture))
        found = self._answers.find(question)
        if found is not None:
            job.future.set_result(found)
            return True
        job.future.add_done_callback(partial(self._remember, question))
        return False

    def _remember(self, question: Asked, future: Future[Prediction]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._answers.keep(question, future.result())

    def _forget(self, job: Job, future: Future[Prediction]) -> None:
        if future.cancelled():
            self.metrics.cancelled.inc()
            self.queue.remove(job)


def _bundle(catalogue: Catalogue, version: Version) -> Bundle:
    return open_bundle(catalogue.folder(version))
