import pytest

from clearsight.testing.contract import suite
from clearsight.testing.family_contract import FamilyContract
from clearsight.testing.planted_families import Means


class TestFamilies(suite(FamilyContract())):
    pass


@pytest.mark.parametrize("clause", FamilyContract().clauses())
def test_a_sound_family_passes(clause):
    FamilyContract().run(clause, Means)
