"""Every import format passes every clause, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.contract import suite
from clearsight.testing.source_contract import SourceContract


class TestSources(suite(SourceContract())):  # type: ignore[misc]
    pass
