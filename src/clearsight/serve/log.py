"""The service's log: one JSON line an event on stderr; no picture, file name or key in it.

Lines are written by a thread of their own, so that a terminal or collector that stands still never
holds a request up; what does not fit into its queue is dropped and counted.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections import deque
from typing import Literal, get_args

from clearsight.core.errors import ConfigError, nearest

Level = Literal["info", "warning", "error", "off"]
LEVELS: tuple[Level, ...] = get_args(Level)
LEVEL_VARIABLE = "CLEARSIGHT_LOG"
MOST_WAITING = 10_000
FLUSH_S = 1.0

Field = str | int | float | bool | None


class Log:
    """Writes events of a level and above.

    Args:
        level: of the least event that is written.
    """

    def __init__(self, level: Level = "warning") -> None:
        self.level: Level = level
        self.dropped = 0
        self._lines: deque[dict[str, Field]] = deque()
        self._changed = threading.Condition()
        self._idle = True
        self._thread: threading.Thread | None = None

    def wants(self, level: Level) -> bool:
        """Return whether events of this level are written."""
        return LEVELS.index(level) >= LEVELS.index(self.level)

    def write(self, level: Level, event: str, **fields: Field) -> None:
        """Hand one event to the writing thread."""
        if level == "off" or not self.wants(level):
            return
        line = {"time": time.time(), "level": level, "event": event, **fields}
        with self._changed:
            if len(self._lines) >= MOST_WAITING:
                self.dropped += 1
                return
            self._lines.append(line)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="clearsight-log", daemon=True
                )
                self._thread.start()
                atexit.register(self.flush)
            self._changed.notify()

    def flush(self, seconds: float = FLUSH_S) -> None:
        """Wait until everything is written, but not for ever."""
        ends = time.monotonic() + seconds
        with self._changed:
            while (self._lines or not self._idle) and time.monotonic() < ends:
                self._changed.wait(max(0.0, ends - time.monotonic()))

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._lines:
                    self._changed.wait()
                lines = list(self._lines)
                self._lines.clear()
                self._idle = False
            try:
                sys.stderr.write("".join(map(_text, lines)))
                sys.stderr.flush()
            except (OSError, ValueError):  # stderr is closed: nobody reads
                self.dropped += len(lines)
            with self._changed:
                self._idle = True
                self._changed.notify_all()


LOG = Log()
"""The log of this process."""


def set_level(text: str | None) -> None:
    """Choose the least level that is written: as asked, else CLEARSIGHT_LOG, else "warning".

    Raises:
        ConfigError: no such level.
    """
    level = text or os.environ.get(LEVEL_VARIABLE) or "warning"
    if level not in LEVELS:
        raise ConfigError(f"Unknown log level {level!r}.{nearest(level, LEVELS)}")
    LOG.level = level


def failure(event: str, error: BaseException, **fields: str) -> None:
    """Log something that should not have happened, with its cause."""
    LOG.write("error", event, cause=f"{type(error).__name__}: {error}", **fields)


def _text(line: dict[str, Field]) -> str:
    moment = line["time"]
    assert isinstance(moment, float)
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    stamped = {**line, "time": f"{seconds}.{int(moment % 1 * 1000):03d}Z"}
    return json.dumps(stamped, ensure_ascii=False) + "\n"
