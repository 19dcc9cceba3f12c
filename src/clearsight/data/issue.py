"""What the checks of a data set report, and where they live."""

from __future__ import annotations

from collections.abc import Callable

from clearsight.core.config import Config
from clearsight.core.registry import Registry
from clearsight.data.dataset import Dataset

CHECKS = Registry("clearsight.data.checks", "data check")


class Issue(Config):
    """One thing worth knowing about the data.

    Args:
        kind: a stable code, for example "duplicate".
        path: the picture or class that it is about.
        other: the second picture or class where there are two, else "".
        detail: what it means and what to do, for a person.
    """

    kind: str
    path: str
    other: str = ""
    detail: str


Check = Callable[[Dataset], list[Issue]]
"""What every file in `checks/` defines: looks at a data set, changes nothing, never raises."""
