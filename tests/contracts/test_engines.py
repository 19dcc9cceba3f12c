"""Every engine passes every clause, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.contract import suite
from clearsight.testing.engine_contract import EngineContract


class TestEngines(suite(EngineContract())):  # type: ignore[misc]
    pass
