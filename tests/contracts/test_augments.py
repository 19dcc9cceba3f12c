"""Every augmentation keeps the contract, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.augment_contract import AugmentContract
from clearsight.testing.contract import suite


class TestAugments(suite(AugmentContract())):
    pass
