"""A bounded queue that knows deadlines: two classes of requests, fair shares between models.

Within a class the next picture belongs to the model that has had least of the workers, measured
in seconds divided by its share, among the models that are loaded (start-time fair queueing). A
model that was idle starts level with the others and cannot save time up.
Source: Goyal, Vin, Cheng, "Start-time fair queueing", SIGCOMM 1996.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

from clearsight.serve.calls import Job
from clearsight.serve.errors import ExpiredError, NotReadyError, OverloadedError
from clearsight.serve.models import Model

LANES = ("normal", "batch", "shadow")
ON_TIME = 0.7  # share of its deadline that a forecast may fill: under overload all of them do
SMOOTHING = 0.1  # share of the newest run in the running mean of run times


class FairQueue:
    """Holds admitted pictures until a worker takes them. Thread-safe.

    Args:
        workers: how many threads will take.
        room: pictures of one class that may wait at the same time.
        shares: weight of a model by name; 1 where it is not named.
    """

    def __init__(self, workers: int, room: int, shares: Mapping[str, float]) -> None:
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)
        self._workers, self._room, self._shares = workers, room, shares
        self._lanes: dict[str, dict[Model, deque[Job]]] = {lane: {} for lane in LANES}
        self._waiting = dict.fromkeys(LANES, 0)
        self._ahead_s = dict.fromkeys(LANES, 0.0)
        self._passed: dict[str, float] = {}
        self._level = 0.0
        self._busy = self._running = 0  # workers that run, pictures that they run
        self._closed = False

    def waiting(self, lane: str | None = None) -> int:
        """Return how many pictures wait, of one class or of all."""
        return self._waiting[lane] if lane else sum(self._waiting.values())

    def waits(self, model: Model) -> float | None:
        """Return when the oldest waiting picture of a model was queued, None without one."""
        with self._lock:
            heads = [lane[model][0].queued for lane in self._lanes.values() if lane.get(model)]
        return min(heads, default=None)

    def admit(self, model: Model, lane: str, count: int, seconds: float) -> None:
        """Pass when `count` more pictures would be answered within `seconds`.

        Raises:
            NotReadyError: the queue is closed.
            OverloadedError: no room, or the forecast is later than the deadline.
        """
        with self._lock:
            self._admit(model, lane, count, seconds)

    def put(self, jobs: Sequence[Job], seconds: float) -> None:
        """Queue the pictures of one request, all or none; raises as `admit` does."""
        model, lane = jobs[0].model, jobs[0].lane
        with self._lock:
            self._admit(model, lane, len(jobs), seconds)
            waiting = self._lanes[lane].setdefault(model, deque())
            if not waiting:
                passed = self._passed.get(model.name, 0.0)
                self._passed[model.name] = max(passed, self._level)
            for job in jobs:
                job.expected_s = model.run_s
                self._ahead_s[lane] += job.expected_s
            waiting.extend(jobs)
            self._waiting[lane] += len(jobs)
            self._work.notify(len(jobs))

    def put_if_idle(self, job: Job) -> None:
        """Queue a picture of the last class when no other waits; drop it otherwise."""
        with self._lock:
            if self._closed or self.waiting():
                return
            self._lanes[job.lane].setdefault(job.model, deque()).append(job)
            self._waiting[job.lane] += 1
            self._work.notify()

    def take(self) -> list[Job] | None:
        """Wait for work and return it: pictures of one loaded model; None when all is done.

        What expired while it waited ends here. The model is kept loaded until `done`.
        """
        while True:
            with self._lock:
                found = self._next()
                while found is None:
                    if self._closed and not self.waiting():
                        return None
                    self._work.wait()
                    found = self._next()
                jobs, late = found
                if jobs:
                    jobs[0].model.users += 1
                    self._busy += 1
                    self._running += len(jobs)
            for job in late:
                end_late(job)
            if jobs:
                return jobs

    def done(self, jobs: Sequence[Job], seconds: float) -> None:
        """Give a model back after its pictures ran for `seconds`."""
        model = jobs[0].model
        with self._lock:
            model.users -= 1
            model.used = time.monotonic()
            model.served += len(jobs)
            self._busy -= 1
            self._running -= len(jobs)
            share = self._shares.get(model.name, 1.0)
            self._passed[model.name] = self._passed.get(model.name, 0.0) + seconds / share
            each = seconds / len(jobs)
            model.run_s += (each - model.run_s) * (SMOOTHING if model.run_s else 1)
            self._freed.notify_all()

    def wake(self) -> None:
        """Look again: a model was loaded."""
        with self._lock:
            self._work.notify_all()

    def unload(self, model: Model) -> bool:
        """Let go of a loaded model's predictor; False while a worker uses it."""
        with self._lock:
            if model.users:
                return False
            model.predictor = None
            return True

    def freed(self, seconds: float) -> None:
        """Return when a worker gave a model back, or after `seconds`."""
        with self._lock:
            self._freed.wait(seconds)

    def remove(self, job: Job) -> None:
        """Take a picture out that nobody waits for; nothing when a worker has it already."""
        with self._lock:
            waiting = self._lanes[job.lane].get(job.model)
            try:
                (waiting or deque()).remove(job)
            except ValueError:
                return
            self._taken(job)

    def drain(self, model: Model) -> list[Job]:
        """Take every waiting picture of a model out and return them."""
        with self._lock:
            jobs = [job for lane in self._lanes.values() for job in lane.pop(model, ())]
            for job in jobs:
                self._taken(job)
            return jobs

    def close(self) -> None:
        """Admit nothing more; `take` gives what waits, then None."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    def _admit(self, model: Model, lane: str, count: int, seconds: float) -> None:
        if self._closed:
            raise NotReadyError("The service is stopping. Ask another instance.")
        waiting = self._waiting[lane]
        forecast = self._forecast(model, lane, count)
        if waiting + count > max(self._room, count if not waiting else 0):
            raise OverloadedError("The queue is full. Try again later.", forecast)
        idle = self._busy < self._workers and not self.waiting()
        room_s = ON_TIME * seconds
        if not idle and forecast > room_s:  # an idle worker tries: the forecast may be stale
            raise OverloadedError(
                "The answer would come after the deadline. Try again later.", forecast - room_s
            )

    def _forecast(self, model: Model, lane: str, count: int) -> float:
        before = LANES[: LANES.index(lane) + 1]
        ahead = sum(self._ahead_s[name] for name in before)
        running = self._running * model.run_s / 2  # on average half of it is over
        # those of a batch are answered when all of them are
        together = min(model.batch, math.ceil((self._waiting[lane] + count) / self._workers))
        ahead = max(0.0, ahead - (together - 1) * model.run_s)
        rounds = max(together, math.ceil(count / self._workers))
        return (ahead + running) / self._workers + rounds * model.run_s + model.load_wait_s()

    def _next(self) -> tuple[list[Job], list[Job]] | None:
        """Return what a worker takes now, and what expired on the way; None when nothing is due."""
        for lane in self._lanes.values():
            ready = [model for model, jobs in lane.items() if jobs and model.loaded]
            if not ready:
                continue
            model = min(ready, key=lambda m: self._passed.get(m.name, 0.0))
            self._level = self._passed.get(model.name, 0.0)
            return self._pop(lane, model)
        return None

    def _pop(self, lane: dict[Model, deque[Job]], model: Model) -> tuple[list[Job], list[Job]]:
        waiting, now = lane[model], time.monotonic()
        most = min(model.batch, math.ceil(len(waiting) / self._workers))  # the others get theirs
        jobs: list[Job] = []
        late: list[Job] = []
        while waiting and len(jobs) < most:
            job = waiting.popleft()
            self._taken(job)
            (late if job.deadline <= now else jobs).append(job)
            if jobs and now + (len(jobs) + 1) * model.run_s > jobs[0].deadline:
                break
        if not waiting:
            del lane[model]
        return jobs, late

    def _taken(self, job: Job) -> None:
        self._waiting[job.lane] -= 1
        left = self._ahead_s[job.lane] - job.expected_s
        self._ahead_s[job.lane] = max(0.0, left) if self._waiting[job.lane] else 0.0


def end_late(job: Job) -> None:
    """End a picture whose deadline passed while it waited."""
    if job.future.set_running_or_notify_cancel():
        job.future.set_exception(
            ExpiredError("The deadline passed while the request waited. Try again later.")
        )
