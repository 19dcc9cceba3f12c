"""Every deformation keeps the contract, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.contract import suite
from clearsight.testing.deformation_contract import DeformationContract


class TestDeformations(suite(DeformationContract())):
    pass
