"""Every attack keeps the contract, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.attack_contract import AttackContract
from clearsight.testing.contract import suite


class TestAttacks(suite(AttackContract())):
    pass
