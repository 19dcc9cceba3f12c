"""Sends the load: a closed loop of clients that wait, or an open loop of arrivals that do not."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from clearsight.client.errors import UnreachableError
from clearsight.client.load.lines import Connect, Line
from clearsight.client.load.plan import LoadPlan
from clearsight.client.load.record import Recorder
from clearsight.core.progress import Progress, Silent

PAUSE_S = 0.05  # after a lost connection, so that a dead service is not asked a million times
INTERRUPTED_S = 2.0  # how long a Ctrl-C waits for what is under way
SLACK_S = 0.5
TIMED_OUT = "no answer in time"


class Drive:
    """One measurement in progress.

    Args:
        plan: what to do.
        connect: opens a connection.
        progress: told how it goes, once a second.
    """

    def __init__(self, plan: LoadPlan, connect: Connect, progress: Progress | None = None) -> None:
        self.plan, self._connect = plan, connect
        self._progress = progress or Silent()
        now = time.perf_counter()
        self._starts = now
        begins = now + plan.warm_up_s
        self.record = Recorder(begins, begins + plan.time_s, plan.deadline_s)
        self.interrupted = False
        self._number = 0
        self._open: set[asyncio.Task[None]] = set()
        self._idle: list[Line] = []

    async def run(self) -> Recorder:
        """Send until the time is over or Ctrl-C, and wait for what is under way."""
        stop = self._on_interrupt()
        self._progress.start("load", self.plan.warm_up_s + self.plan.time_s, "s")
        watch = asyncio.create_task(self._watch())
        try:
            await (self._closed_loop() if self.plan.rate is None else self._open_loop())
            await self._finish()
        finally:
            watch.cancel()
            stop()
            for line in self._idle:
                line.close()
            self._progress.finish()
        return self.record

    def interrupt(self) -> None:
        """Stop early; what was measured so far is the result."""
        self.interrupted = True
        now = time.perf_counter()
        self.record.tick(now)
        self.record.ends = min(self.record.ends, max(now, self.record.begins))

    async def _closed_loop(self) -> None:
        clients = self.plan.clients
        ramp_s = min(self.plan.warm_up_s, 1.0) / clients
        for number in range(clients):
            self._start(self._client(number * ramp_s))
        while self._open and time.perf_counter() < self.record.ends:
            left = self.record.ends - time.perf_counter()
            await asyncio.wait(self._open, timeout=min(0.2, max(0.001, left)))

    async def _client(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while (now := time.perf_counter()) < self.record.ends:
            if not await self._ask(now):
                await asyncio.sleep(PAUSE_S)

    async def _open_loop(self) -> None:
        assert self.plan.rate is not None
        draw = random.Random(self.plan.seed)
        due = self._starts
        while True:
            due += draw.expovariate(self.plan.rate)
            if due >= self.record.ends:
                return
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if self.interrupted:
                return
            if len(self._open) < self.plan.most_open:
                self._start(self._ask(due))
            elif self.record.counts(due):
                self.record.unsent += 1

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _ask(self, due: float) -> bool:
        """Send one request on an idle connection or a new one; count what becomes of it."""
        record = self.record
        line: Line | None = None
        try:
            async with asyncio.timeout(self.plan.patience_s):
                line = self._take() or await self._connect()
                sent = time.perf_counter()
                self._number += 1
                reply = await line.ask(self._number)
        except TimeoutError:
            record.lost(due, TIMED_OUT)
        except UnreachableError as error:
            record.lost(due, str(error))
        else:
            record.reply(due, sent, time.perf_counter(), reply)
            if not line.closing:
                self._idle.append(line)
            return True
        if line is not None:
            line.close()
        return False

    def _take(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if not line.closing:
                return line
        return None

    async def _finish(self) -> None:
        """Wait for what is under way, then give it up and count it."""
        if self._open:
            most_s = INTERRUPTED_S if self.interrupted else self.plan.patience_s + SLACK_S
            await asyncio.wait(self._open, timeout=most_s)
        left = list(self._open)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1)
        self.record.unanswered = len(left)
        self.record.sent += len(left)

    async def _watch(self) -> None:
        seen, last = 0, self._starts
        while True:
            await asyncio.sleep(0.01 if self.record.cpu_begins is None else 0.05)
            now = time.perf_counter()
            self.record.tick(now)
            if now - last >= 1:
                good = self.record.answered.count
                late_ms = self.record.answered.quantile(0.99) * 1000
                note = f"{(good - seen) / (now - last):.0f}/s, p99 {late_ms:.0f} ms"
                if refused := self.record.refused.count:
                    note += f", {refused} refused"
                if lost := sum(self.record.errors.values()):
                    note += f", {lost} lost"
                self._progress.advance(now - last, note)
                seen, last = good, now

    def _on_interrupt(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
            return lambda: None

        def stop() -> None:
            loop.remove_signal_handler(signal.SIGINT)  # the second Ctrl-C ends at once
            self.interrupt()

        def leave() -> None:
            loop.remove_signal_handler(signal.SIGINT)

        loop.add_signal_handler(signal.SIGINT, stop)
        return leave


def run_loop(main: Any) -> Any:
    """Run a coroutine on uvloop where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
