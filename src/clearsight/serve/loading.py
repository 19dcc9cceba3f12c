"""Keeps models in memory within a budget: loads what is asked for, unloads what was used least.

One thread loads, so that no worker ever waits for a model that is not its own; pictures of other
models go on meanwhile.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clearsight.core.bundle import MODEL
from clearsight.core.errors import ClearsightError
from clearsight.core.nouns import Predictor
from clearsight.serve import log
from clearsight.serve.errors import ModelFailedError, StartError
from clearsight.serve.fair_queue import FairQueue
from clearsight.serve.metrics import Metrics
from clearsight.serve.models import Model

GUESS = 2  # memory of a model that was never loaded, in sizes of its file
PATIENCE_S = 0.25  # a model with waiting pictures may be unloaded for one whose wait for this long
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that is ready: checked, warm, its speed known.

    Args:
        predictor: thread-safe.
        engine: key of the engine that runs it.
        variant: which of the Bundle's variants it is; "" for the one of full precision.
        batch: most pictures that should run together.
        run_s: seconds a picture.
        memory_bytes: what the process grew by.
    """

    predictor: Predictor
    engine: str = ""
    variant: str = ""
    batch: int = 1
    run_s: float = 0.0
    memory_bytes: int = 0


class Loader:
    """Loads and unloads models; see `models.Keeper`. Thread-safe.

    Args:
        open_model: opens, checks and warms a model; raises ClearsightError.
        queue: whose pictures wait for models.
        budget_bytes: memory that all loaded models may take together.
        metrics: counts loads.
    """

    def __init__(
        self,
        open_model: Callable[[Model], Opened],
        queue: FairQueue,
        budget_bytes: int,
        metrics: Metrics,
    ) -> None:
        self._open, self._queue = open_model, queue
        self._budget, self._metrics = budget_bytes, metrics
        self._resident: list[Model] = []
        self._retired: list[Model] = []
        self._asked: deque[Model] = deque()
        self._changed = threading.Condition()
        self._one_at_a_time = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="clearsight-loader", daemon=True)
        self._thread.start()

    def resident_bytes(self) -> int:
        """Return the memory that loaded models take together, as measured when they were loaded."""
        return sum(model.memory_bytes for model in list(self._resident))

    def ask(self, model: Model) -> None:
        """Have a model loaded soon, because pictures wait for it."""
        with self._changed:
            if model not in self._asked:
                self._asked.append(model)
                self._changed.notify()

    def load(self, model: Model) -> None:
        """Return when the model is in memory.

        Raises:
            StartError: it needs more than the whole budget.
            BundleError: it cannot be opened or fails its own golden pictures.
        """
        with self._one_at_a_time:
            if model.loaded:
                return
            self._make_room(model)
            started = time.monotonic()
            opened = self._open(model)
            size = len_of_model(model)
            model.memory_bytes = max(model.memory_bytes, opened.memory_bytes, size)
            model.load_s = time.monotonic() - started
            model.engine, model.variant = opened.engine, opened.variant
            model.batch, model.run_s = opened.batch, opened.run_s or model.run_s
            model.served, model.used, model.problem = 0, time.monotonic(), ""
            model.predictor = opened.predictor
            self._resident.append(model)
        self._metrics.loads.labels(model.name).inc()
        self._metrics.load_seconds.labels(model.name).observe(model.load_s)
        self._queue.wake()

    def has_room(self, model: Model) -> bool:
        """Say whether a model fits beside what is loaded; the first one is loaded anyway."""
        return not self._resident or self.resident_bytes() + expected_bytes(model) <= self._budget

    def retire(self, model: Model) -> None:
        """Let a model go for good, when its last picture is answered."""
        with self._changed:
            self._retired.append(model)
            self._changed.notify()

    def close(self) -> None:
        """End the thread; what is loaded stays."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (model := self._next()) is not None:
            if model.loaded:
                continue
            try:
                self.load(model)
            except Exception as error:  # noqa: BLE001 - its pictures get an answer, others go on
                self._failed(model, error)

    def _next(self) -> Model | None:
        """Return the next model to load; meanwhile let go of retired ones."""
        while True:
            with self._changed:
                if not self._asked and not self._closed:
                    self._changed.wait(POLL_S if self._retired else None)
                if self._closed:
                    return None
                retired, self._retired = self._retired, []
                asked = self._asked.popleft() if self._asked else None
            left = [model for model in retired if not self._let_go(model)]
            with self._changed:
                self._retired += left
            if asked is not None:
                return asked

    def _let_go(self, model: Model) -> bool:
        if self._queue.waits(model) is not None:
            return False
        return self._unload(model)

    def _failed(self, model: Model, error: Exception) -> None:
        model.problem = str(error) if isinstance(error, ClearsightError) else "It failed to load."
        log.failure("model cannot be loaded", error, model=model.name, version=model.version)
        for job in self._queue.drain(model):
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(ModelFailedError("The model cannot be loaded."))

    def _make_room(self, model: Model) -> None:
        needed = expected_bytes(model)
        if needed > self._budget:
            raise StartError(
                f"The model {model.name!r} needs about {needed / 1e6:.0f} MB; all models together "
                f"may take {self._budget / 1e6:.0f} MB. Raise it with --memory."
            )
        while self.resident_bytes() + needed > self._budget:
            victim = self._victim(model)
            if victim is None or not self._unload(victim):
                self._queue.freed(POLL_S)

    def _victim(self, wanted: Model) -> Model | None:
        """Return the model to unload: least recently used, those without waiting pictures first."""
        free = [m for m in self._resident if m.source is not None and not m.users]
        waits = {id(m): self._queue.waits(m) for m in free}
        since = self._queue.waits(wanted)
        patient = since is not None and time.monotonic() - since < PATIENCE_S
        idle = [m for m in free if waits[id(m)] is None]
        busy = [m for m in free if waits[id(m)] is not None and m.served]
        candidates = idle or ([] if patient else busy)
        return min(candidates, key=lambda m: m.used, default=None)

    def _unload(self, model: Model) -> bool:
        if not self._queue.unload(model):
            return False
        if model in self._resident:
            self._resident.remove(model)
            self._metrics.unloads.labels(model.name).inc()
        if self._queue.waits(model) is not None:
            self.ask(model)
        gc.collect()
        give_back()
        return True


def len_of_model(model: Model) -> int:
    """Return the size in bytes of a model's file; 0 for one that has none."""
    return model.bundle().manifest.files[MODEL].size if model.source is not None else 0


def expected_bytes(model: Model) -> int:
    """Return the memory a model takes, as measured when it was loaded; a guess before that."""
    return model.memory_bytes or GUESS * len_of_model(model)


def resident_bytes() -> int:
    """Return this process's resident memory; 0 where it cannot be read."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Hand freed memory back to the system, where the C library can."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def default_budget() -> int:
    """Return half of the memory that this machine, or this container, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):
            continue
    return total // 2
