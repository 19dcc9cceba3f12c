"""Imports torch beside other work."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from clearsight.learn.choose import Candidate


class Loading(threading.Thread):
    """Imports torch beside other work: its first import takes seconds."""

    def __init__(self) -> None:
        super().__init__(name="clearsight-load-torch")
        self._began = time.monotonic()
        self._took_s: float | None = None

    def run(self) -> None:
        """Import it; what is wrong with it is told by who needs it."""
        try:
            import torch  # noqa: F401
        except Exception:  # noqa: BLE001 - told where it is used
            return
        finally:
            self._took_s = time.monotonic() - self._began

    @property
    def seconds(self) -> float:
        """Return how long it took, so far."""
        return time.monotonic() - self._began if self._took_s is None else self._took_s


def loading_torch(candidates: Sequence[Candidate]) -> Loading | None:
    """Begin to import torch if a candidate needs it."""
    if all(one.key == "classical" for one in candidates):
        return None
    loading = Loading()
    loading.start()
    return loading
