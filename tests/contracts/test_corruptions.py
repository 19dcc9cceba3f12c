"""Every corruption keeps the contract, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.contract import suite
from clearsight.testing.corruption_contract import CorruptionContract


class TestCorruptions(suite(CorruptionContract())):
    pass
