"""The shortlist follows size, colour, time and what is installed; never names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clearsight.learn import choose
from clearsight.learn.choose import shortlist
from clearsight.learn.family import FAMILIES, Facts

SMALL = Facts(tuple("abcdefghij"), (6000,) * 10, 28, 28, True)
COLOUR = replace(SMALL, height=32, width=32, grey=False)
PHOTOS = Facts(("cat", "dog"), (200, 200), 375, 500, False)


@pytest.fixture(autouse=True)
def _everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_installed", lambda package: True)


def keys(facts: Facts, time_s: float | None = None) -> list[str]:
    found = shortlist(facts, time_s)
    for candidate in found:
        assert candidate.reason
        assert 0 < candidate.share_of_time <= 1
        FAMILIES.load(candidate.key)(FAMILIES.load(candidate.key).Config.parse(candidate.config))
    return [candidate.key for candidate in found]


def test_small_grey_pictures_need_no_backbone() -> None:
    assert keys(SMALL, 90) == ["classical", "classical", "compact"]


def test_small_colour_pictures_race_in_full() -> None:
    assert keys(COLOUR, 90) == ["classical", "classical", "probe", "timm", "compact"]
    tiny = replace(COLOUR, height=16, width=16)
    assert "probe" not in keys(tiny, 90)


def test_photos_take_a_backbone_and_its_tuning() -> None:
    assert keys(PHOTOS, 600) == ["classical", "probe", "timm"]


def test_the_larger_backbone_is_tuned_where_the_time_allows_some_passes() -> None:
    names = [
        next(one.config["name"] for one in shortlist(COLOUR, time_s) if one.key == "timm")
        for time_s in (300, 300_000)
    ]
    assert names == ["tf_efficientnet_lite0", "tf_efficientnet_lite2"]


def test_quick_ones_cannot_take_the_time_of_those_that_gain_from_it() -> None:
    for facts in (SMALL, COLOUR):
        found = shortlist(facts, 200)
        assert sum(one.share_of_time for one in found if not one.grows) <= 0.5
        assert all(one.share_of_time == 1 for one in found if one.grows)
        assert [one.grows for one in found] == sorted(one.grows for one in found)


def test_without_a_time_there_is_no_race() -> None:
    assert keys(SMALL) == keys(COLOUR) == ["compact"]
    assert keys(PHOTOS) == ["probe"]


def test_without_torch_there_is_classical(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_installed", lambda package: package != "torch")
    for facts in (SMALL, PHOTOS):
        assert set(keys(facts, 600)) == {"classical"}
        assert sum(one.share_of_time for one in shortlist(facts, 600)) == 1
        assert keys(facts) == ["classical"]


def test_without_weights_photos_train_from_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_installed", lambda package: package == "torch")
    monkeypatch.setattr("clearsight.learn.backbones.hub_reachable", lambda: False)
    assert keys(PHOTOS, 600) == ["classical", "classical", "compact"]
    assert keys(PHOTOS) == ["compact"]


def test_names_of_classes_decide_nothing() -> None:
    for facts in (SMALL, PHOTOS):
        renamed = replace(facts, classes=tuple(f"类{i}" for i in range(len(facts.classes))))
        assert shortlist(facts, 120) == shortlist(renamed, 120)
