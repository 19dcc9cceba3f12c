"""Every explainer keeps the contract, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.contract import suite
from clearsight.testing.explainer_contract import ExplainerContract


class TestExplainers(suite(ExplainerContract())):
    pass
