"""Calls a service from Python: pictures in, Predictions out; `load/` measures a service."""

from __future__ import annotations

from clearsight.client.client import AsyncClient, Client
from clearsight.client.models import ServedModel

__all__ = ["AsyncClient", "Client", "ServedModel"]
