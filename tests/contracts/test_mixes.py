"""Every mix keeps the contract, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.contract import suite
from clearsight.testing.mix_contract import MixContract


class TestMixes(suite(MixContract())):
    pass
