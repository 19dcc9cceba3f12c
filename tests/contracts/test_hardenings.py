"""Every hardening keeps the contract, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.contract import suite
from clearsight.testing.hardening_contract import HardeningContract


class TestHardenings(suite(HardeningContract())):
    pass
