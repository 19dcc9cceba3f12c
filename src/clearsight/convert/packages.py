"""Packages that only converting needs: imported when used, with the command that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from clearsight.core.errors import MissingExtraError

EXTRA = "convert"


def needed(module: str, purpose: str, extra: str = EXTRA) -> Any:
    """Import a module of an optional package and return it.

    Args:
        module: its dotted name, for example "onnx.helper".
        purpose: what it is needed for, for the message.
        extra: the clearsight extra that brings it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).split(".")[0]
        raise MissingExtraError(missing, extra, purpose) from error
