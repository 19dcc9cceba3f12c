"""Every model family keeps the contract, and every planted violation is caught."""

from __future__ import annotations

import pytest

from clearsight.testing.contract import suite
from clearsight.testing.family_contract import FamilyContract
from clearsight.testing.planted_families import Means

QUICK = {
    "check_builds_from_defaults",
    "check_config_round_trips",
    "check_preprocessing_fits_any_facts",
}
TRAINING = set(FamilyContract().clauses()) - QUICK
SLOW = {
    "timm": TRAINING,
    "probe": TRAINING - {"check_exported_scores", "check_features_claim", "check_pretrained_claim"},
}


class TestFamilies(suite(FamilyContract(), SLOW)):  # type: ignore[misc]
    pass


@pytest.mark.parametrize("clause", FamilyContract().clauses())
def test_a_sound_family_passes(clause: str) -> None:
    FamilyContract().run(clause, Means)
