"""The shortlist follows size, amount, time and what is installed; never names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearsight.learn import choose
from clearsight.learn.choose import shortlist
from clearsight.learn.family import FAMILIES, Facts

SMALL = Facts(tuple("abcdefghij"), (6000,) * 10, 28, 28, True)
PHOTOS = Facts(("cat", "dog"), (200, 200), 375, 500, False)


@pytest.fixture(autouse=True)
def _everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_installed", lambda package: True)
    monkeypatch.setattr(choose, "_cores", lambda: 2)


def keys(facts: Facts, time_s: float | None = None) -> list[str]:
    found = shortlist(facts, time_s)
    for candidate in found:
        assert candidate.reason
        assert candidate.share_of_time > 0
        family = FAMILIES.load(candidate.key)
        family.Config.parse(candidate.config)
    return [candidate.key for candidate in found]


def test_many_small_pictures_train_compact_alone() -> None:
    assert keys(SMALL, 90) == ["compact"]
    assert keys(SMALL) == ["compact"]


def test_few_small_pictures_have_quick_rivals_first() -> None:
    few = replace(SMALL, class_counts=(40,) * 10)
    assert keys(few, 60) == ["classical", "compact"]
    colour = replace(few, height=64, width=64, grey=False)
    assert keys(colour, 60) == ["classical", "probe", "compact"]


def test_photos_take_a_backbone_and_fine_tuning_when_time_allows() -> None:
    assert keys(PHOTOS, 60) == ["probe"]
    assert keys(PHOTOS, 600) == ["probe", "timm"]
    assert keys(replace(PHOTOS, class_counts=(20_000, 20_000)), 600) == ["probe"]
    assert keys(PHOTOS) == ["probe"]


def test_very_little_time_leaves_what_starts_at_once() -> None:
    assert keys(PHOTOS, 8) == ["classical"]
    assert keys(SMALL, 8) == ["classical"]


def test_without_torch_there_is_classical(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_installed", lambda package: package != "torch")
    assert keys(PHOTOS, 600) == keys(SMALL, 600) == ["classical"]


def test_without_weights_photos_train_from_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_installed", lambda package: package == "torch")
    monkeypatch.setattr("clearsight.learn.backbones.hub_reachable", lambda: False)
    assert keys(PHOTOS, 600) == ["classical", "compact"]


def test_names_of_classes_decide_nothing() -> None:
    for facts in (SMALL, PHOTOS):
        renamed = replace(facts, classes=tuple(f"类{i}" for i in range(len(facts.classes))))
        assert shortlist(facts, 120) == shortlist(renamed, 120)
