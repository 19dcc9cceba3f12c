"""Work that is done again and again beside the requests."""

from __future__ import annotations

import threading
from collections.abc import Callable

from clearsight.serve import log


class Repeating:
    """Does something every few seconds on a thread of its own; a failure does not end it.

    Of failures in a row the first is logged: a store that is away for an hour fills no disk.

    Args:
        work: what is done.
        every_s: seconds between the end of one time and the next.
        name: of the thread.
        trouble: what the log says when it fails.
    """

    def __init__(self, work: Callable[[], object], every_s: float, name: str, trouble: str) -> None:
        self._work, self._every_s, self._trouble = work, every_s, trouble
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; return when the last time is over."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        failing = False
        while not self._stopped.wait(self._every_s):
            try:
                self._work()
                failing = False
            except Exception as error:  # noqa: BLE001 - what is away may come back
                if not failing:
                    log.failure(self._trouble, error)
                failing = True
