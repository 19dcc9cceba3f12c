"""What is counted while the load runs."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from clearsight.client.load.histogram import Histogram
from clearsight.client.load.lines import Reply

MOST_KINDS = 200  # of statuses, errors, versions: a broken service cannot fill the memory
MOST_SECONDS = 7 * 86_400


@dataclass
class Recorder:
    """Counts what happens between two moments; what begins before or after is load, not figure.

    Args:
        begins, ends: of the measurement, on the clock of `time.perf_counter`.
        deadline_s: answers that take longer are late.
    """

    begins: float
    ends: float
    deadline_s: float | None = None
    sent: int = 0
    unsent: int = 0
    unanswered: int = 0
    late: int = 0
    mixed: int = 0
    retry_after: int = 0
    done_in_time: int = 0
    good_in_time: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    answered: Histogram = field(default_factory=Histogram)
    answered_from_send: Histogram = field(default_factory=Histogram)
    refused: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    timeline: dict[int, list[float]] = field(default_factory=dict)
    cpu_begins: float | None = None
    cpu_s: float = 0.0

    def counts(self, due: float) -> bool:
        """Say whether a request of this moment is part of the measurement."""
        return self.begins <= due < self.ends

    def tick(self, now: float) -> None:
        """Read the generator's own processor time; call often enough."""
        if self.cpu_begins is None:
            if now >= self.begins:
                self.cpu_begins = time.process_time()
        elif now <= self.ends + 0.05:
            self.cpu_s = time.process_time() - self.cpu_begins

    def reply(self, due: float, sent: float, now: float, reply: Reply) -> None:
        """Count an answer or a refusal.

        Args:
            due: when the request was to be sent.
            sent: when it was.
            now: when its answer was there.
            reply: what came.
        """
        took = now - due
        late = self.deadline_s is not None and took > self.deadline_s
        if self.begins <= now < self.ends:
            self.done_in_time += 1
            self._note(now, reply, late, took)
        if not self.counts(due):
            return
        self.sent += 1
        self.lag.add(sent - due)
        _add(self.statuses, reply.status)
        if reply.good:
            self.answered.add(took)
            self.answered_from_send.add(now - sent)
            self.late += late
            for version in reply.versions:
                _add(self.versions, version)
            self.mixed += len(reply.versions) > 1
        elif reply.refused:
            self.refused.add(now - sent)
            self.retry_after += reply.retry_after

    def lost(self, due: float, why: str) -> None:
        """Count a request that got no answer."""
        if self.counts(due):
            self.sent += 1
            _add(self.errors, why)

    def _note(self, now: float, reply: Reply, late: bool, took: float) -> None:
        self.good_in_time += reply.good and not late
        second = int(now - self.begins)
        if second not in self.timeline and len(self.timeline) >= MOST_SECONDS:
            return
        row = self.timeline.setdefault(second, [0, 0, 0.0])
        row[0 if reply.good else 1] += 1
        row[2] = max(row[2], took if reply.good else 0.0)


def _add(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < MOST_KINDS else "others"] += 1
