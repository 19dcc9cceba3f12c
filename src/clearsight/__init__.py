"""clearsight turns a folder of labelled images into a recognizer you can trust, and serves it.

Example:
    >>> import clearsight
    >>> run = clearsight.train("photos/", out="runs/1", time="10m")  # doctest: +SKIP
    >>> clearsight.load("runs/1").predict("x.jpg").label  # doctest: +SKIP
    'cat'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clearsight.core.silence import silence
from clearsight.core.version import __version__ as __version__

__all__ = ["AsyncClient", "Client", "Recognizer", "compare", "load", "stress", "train", "tune"]

if TYPE_CHECKING:
    from clearsight.api import Recognizer, compare, load, stress, train, tune
    from clearsight.client import AsyncClient, Client

CALLS = ("AsyncClient", "Client")

silence()


def __getattr__(name: str) -> Any:
    if name in CALLS:
        from clearsight import client

        return getattr(client, name)
    if name in __all__:
        from clearsight import api

        return getattr(api, name)
    raise AttributeError(f"module 'clearsight' has no attribute {name!r}")
