"""Versions, aliases and history: what each change does, and what is refused."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from store_support import EACH, passes

from clearsight.core.bundle import MODEL, Bundle
from clearsight.core.errors import BundleError, GateError, UnknownKeyError, UsageError
from clearsight.serve.catalogue import Catalogue
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.registry.promotion import Refusal, Report
from clearsight.serve.registry.records import Signature
from clearsight.serve.store.blobs import FolderBlobs

Make = Callable[[str], Bundle]


def add(registry: ModelRegistry, bundle: Make, *tags: str, name: str = "shoes") -> list[int]:
    return [registry.add(name, bundle(tag).path, who="ann").record.version for tag in tags]


def alias(registry: ModelRegistry, name: str = "shoes") -> dict[str, int]:
    return {str(key): value for key, value in registry.model(name).aliases.items()}


@EACH
def test_versions_count_up_and_are_never_given_twice(registry: ModelRegistry, bundle: Make) -> None:
    assert add(registry, bundle, "a", "b") == [1, 2]
    registry.remove("shoes", 2, who="ann")
    assert add(registry, bundle, "b", "c") == [3, 4]
    for version in (1, 3, 4):
        registry.remove("shoes", version, who="ann")
    registry.remove("shoes", who="ann")
    assert add(registry, bundle, "a") == [5]


def test_the_same_bundle_keeps_its_number(registry: ModelRegistry, bundle: Make) -> None:
    first = registry.add("shoes", bundle("a").path, who="ann", note="first")
    again = registry.add("shoes", bundle("a").path, who="bob", note="again")
    assert (first.new, again.new) == (True, False)
    assert again.record == first.record
    assert registry.add("boots", bundle("a").path, who="ann").record.version == 1
    assert len(registry.blobs.sizes()) == 1


def test_what_a_version_says_of_itself(registry: ModelRegistry, bundle: Make) -> None:
    given = bundle("a")
    record = registry.add("shoes", given.path, who="ann", note="猫").record
    assert record.signature == Signature("single-label", ("red", "green", "blue"))
    assert (record.note, record.added_by, record.family) == ("猫", "ann", "colour")
    assert record.bundle_id == given.manifest.id
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", record.added_utc)
    registry.blobs.verify(record.digest)


@pytest.mark.parametrize("name", ["", "Shoes", "a b", "../x", "x" * 65, "-x", "猫"])
def test_names_that_no_request_could_carry(
    registry: ModelRegistry, bundle: Make, name: str
) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        registry.add(name, bundle("a").path, who="ann")


def test_no_bundle_and_a_damaged_one(registry: ModelRegistry, bundle: Make, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        registry.add("shoes", tmp_path / "nowhere", who="ann")
    given = bundle("a")
    (given.path / MODEL).write_bytes(b"other")
    with pytest.raises(BundleError):
        registry.add("shoes", given.path, who="ann")
    assert registry.models() == []
    assert registry.blobs.sizes() == {}


@EACH
def test_promote_and_roll_back(registry: ModelRegistry, bundle: Make) -> None:
    add(registry, bundle, "a", "b", "c")
    assert registry.entries() == {}  # nothing answers before it is promoted
    for version in (1, 2, 3):
        registry.promote("shoes", version, who="ann")
        assert alias(registry) == {"production": version}
        assert registry.entries()["shoes"].production == str(version)
    assert registry.rollback("shoes", who="ann") == 2
    assert registry.rollback("shoes", who="ann") == 1
    with pytest.raises(UsageError, match="no earlier version"):
        registry.rollback("shoes", who="ann")
    assert alias(registry) == {"production": 1}
    registry.promote("shoes", 3, who="ann")
    assert registry.rollback("shoes", who="ann") == 1


def test_a_rollback_after_a_removal_and_after_a_withdrawal(
    registry: ModelRegistry, bundle: Make
) -> None:
    add(registry, bundle, "a", "b", "c")
    for version in (1, 2, 3):
        registry.promote("shoes", version, who="ann")
    registry.remove("shoes", 2, who="ann")
    assert registry.rollback("shoes", who="ann") == 1
    registry.withdraw("shoes", who="ann")
    assert alias(registry) == {}
    assert registry.entries() == {}
    assert registry.rollback("shoes", who="ann") == 1


def test_a_rollback_to_a_damaged_bundle(registry: ModelRegistry, bundle: Make) -> None:
    add(registry, bundle, "a", "b")
    registry.promote("shoes", 1, who="ann")
    registry.promote("shoes", 2, who="ann")
    folder = registry.blobs.folder(registry.model("shoes").versions[0].digest)
    (folder / MODEL).write_bytes(b"other")
    with pytest.raises(BundleError):
        registry.rollback("shoes", who="ann")
    assert alias(registry) == {"production": 2}


def test_canary_and_shadow(registry: ModelRegistry, bundle: Make) -> None:
    add(registry, bundle, "a", "b", "c")
    registry.promote("shoes", 1, who="ann")
    registry.canary("shoes", 2, 0.25, who="ann")
    registry.shadow("shoes", 3, who="ann")
    entry = registry.entries()["shoes"]
    assert (entry.production, entry.canary, entry.shadow) == ("1", ("2", 0.25), "3")
    assert set(entry.versions) == {"1", "2", "3"}
    registry.canary("shoes", 2, 0.5, who="ann")
    assert registry.model("shoes").canary_share == 0.5
    registry.promote("shoes", 2, who="ann")  # a canary that is promoted is none any more
    assert alias(registry) == {"production": 2, "shadow": 3}
    assert registry.stop("shoes", "shadow", who="ann") == 3
    assert alias(registry) == {"production": 2}
    with pytest.raises(UsageError, match="no shadow"):
        registry.stop("shoes", "shadow", who="ann")
    with pytest.raises(UsageError, match="promote another version"):
        registry.stop("shoes", "production", who="ann")


@pytest.mark.parametrize("share", [0, 1, -0.5, 2, float("nan"), float("inf")])
def test_shares_out_of_range(registry: ModelRegistry, bundle: Make, share: float) -> None:
    add(registry, bundle, "a", "b")
    registry.promote("shoes", 1, who="ann")
    with pytest.raises(UsageError, match="above 0 and below 1"):
        registry.canary("shoes", 2, share, who="ann")


def test_nothing_stands_beside_itself_or_beside_nothing(
    registry: ModelRegistry, bundle: Make
) -> None:
    add(registry, bundle, "a")
    for start in (
        lambda: registry.canary("shoes", 1, 0.5, who="ann"),
        lambda: registry.shadow("shoes", 1, who="ann"),
    ):
        with pytest.raises(UsageError, match="none"):
            start()
    registry.promote("shoes", 1, who="ann")
    with pytest.raises(UsageError, match="itself"):
        registry.canary("shoes", 1, 0.5, who="ann")


def test_names_and_versions_that_are_not_there(registry: ModelRegistry, bundle: Make) -> None:
    add(registry, bundle, "a")
    with pytest.raises(UnknownKeyError, match="Did you mean 'shoes'"):
        registry.promote("shoos", 1, who="ann")
    with pytest.raises(UnknownKeyError, match="Allowed: 1"):
        registry.promote("shoes", 7, who="ann")
    with pytest.raises(UnknownKeyError):
        registry.remove("shoes", 7, who="ann")


def test_what_an_alias_points_at_cannot_be_removed(registry: ModelRegistry, bundle: Make) -> None:
    add(registry, bundle, "a", "b", "c", "d")
    registry.promote("shoes", 1, who="ann")
    registry.canary("shoes", 2, 0.1, who="ann")
    registry.shadow("shoes", 3, who="ann")
    for version, words in ((1, "withdraw"), (2, "stop shoes canary"), (3, "stop shoes shadow")):
        with pytest.raises(UsageError, match=words):
            registry.remove("shoes", version, who="ann")
    with pytest.raises(UsageError, match="production"):
        registry.remove("shoes", who="ann")
    assert len(registry.model("shoes").versions) == 4  # not one of them went
    registry.remove("shoes", 4, who="ann")
    registry.withdraw("shoes", who="ann")
    registry.remove("shoes", who="ann")
    assert registry.models() == []


@EACH
def test_collection_takes_what_no_version_refers_to(registry: ModelRegistry, bundle: Make) -> None:
    add(registry, bundle, "a", "b")
    add(registry, bundle, "a", name="boots")
    registry.remove("shoes", 1, who="ann")
    assert registry.collect(grace_s=0).digests == ()  # boots still has it
    registry.remove("boots", 1, who="ann")
    assert len(registry.collect(grace_s=0).digests) == 1
    assert len(registry.blobs.sizes()) == 1


def test_a_collection_between_the_copy_and_the_row(
    registry: ModelRegistry, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = registry.blobs.put

    def put_and_lose(given: Bundle) -> object:
        stored = put(given)
        registry.collect(grace_s=0)
        return stored

    monkeypatch.setattr(registry.blobs, "put", put_and_lose)
    with pytest.raises(BundleError, match="Add it again"):
        registry.add("shoes", bundle("a").path, who="ann")
    assert registry.models() == []


def test_tenants(registry: ModelRegistry, bundle: Make) -> None:
    registry.add("shoes", bundle("a").path, who="ann", tenant="acme")
    with pytest.raises(UsageError, match="belongs to 'acme'"):
        registry.add("shoes", bundle("b").path, who="bob", tenant="other")
    with pytest.raises(UsageError, match="belongs to 'acme'"):
        registry.add("shoes", bundle("b").path, who="bob")
    registry.promote("shoes", 1, who="ann")
    entry = registry.entries()["shoes"]
    assert entry.tenant == entry.versions["1"].tenant == "acme"


def test_the_history_says_who_when_and_why(registry: ModelRegistry, bundle: Make) -> None:
    add(registry, bundle, "a", "b")
    registry.promote("shoes", 1, who="ann", why="first")
    registry.promote("shoes", 2, who="bob", why="better on boots")
    registry.rollback("shoes", who="eve", why="worse on sandals")
    newest = registry.history("shoes")
    assert [(c.who, c.what, c.version, c.before, c.why) for c in newest] == [
        ("eve", "rollback", 1, 2, "worse on sandals"),
        ("bob", "promote", 2, 1, "better on boots"),
        ("ann", "promote", 1, None, "first"),
        ("ann", "add", 2, None, ""),
        ("ann", "add", 1, None, ""),
    ]
    assert [c.number for c in newest] == [5, 4, 3, 2, 1]
    assert all(a.at_utc >= b.at_utc for a, b in itertools.pairwise(newest))
    assert len(registry.history(limit=2)) == 2
    assert registry.history("other") == []


@pytest.mark.parametrize("who", ["", "x" * 3000, "a\0b"])
def test_a_change_needs_somebody(registry: ModelRegistry, bundle: Make, who: str) -> None:
    add(registry, bundle, "a")
    with pytest.raises(UsageError):
        registry.promote("shoes", 1, who=who)
    with pytest.raises(UsageError):
        registry.promote("shoes", 1, who="ann", why=who or "x" * 3000)


def test_the_revision_tells_of_changes_alone(registry: ModelRegistry, bundle: Make) -> None:
    add(registry, bundle, "a", "b")
    registry.promote("shoes", 1, who="ann")
    before = registry.revision()
    entries = registry.entries()
    registry.models(), registry.history(), registry.entries()
    assert registry.revision() == before
    assert registry.entries() is entries  # and it was not read again
    registry.promote("shoes", 2, who="ann")
    assert registry.revision() > before
    assert registry.entries()["shoes"].production == "2"
    before = registry.revision()
    with pytest.raises(UnknownKeyError):
        registry.remove("shoes", 9, who="ann")
    assert registry.revision() == before


def test_a_service_keeps_at_hand_what_may_answer(registry: ModelRegistry, bundle: Make) -> None:
    add(registry, bundle, *"abcdef")
    for version in (1, 2, 3):
        registry.promote("shoes", version, who="ann")
    registry.canary("shoes", 5, 0.1, who="ann")
    catalogue: Catalogue = registry
    versions = catalogue.entries()["shoes"].versions
    assert set(versions) == {"3", "5", "2"}  # production, canary, what a rollback brings back
    for version in versions.values():
        assert catalogue.folder(version) == version.path
        assert (version.path / MODEL).is_file()


def test_a_refused_version_changes_nothing_but_the_history(
    registry: ModelRegistry, bundle: Make
) -> None:
    add(registry, bundle, "a", "b")
    registry.promote("shoes", 1, who="ann")
    refusing = ModelRegistry(
        registry.database,
        registry.blobs,
        check=lambda *_: Report((Refusal("nan", "It gives NaN."),)),
    )
    before = registry.model("shoes")
    for start in (
        lambda: refusing.promote("shoes", 2, who="bob"),
        lambda: refusing.canary("shoes", 2, 0.5, who="bob"),
        lambda: refusing.shadow("shoes", 2, who="bob"),
    ):
        with pytest.raises(GateError, match=r"\[nan\] It gives NaN\. Nothing was changed"):
            start()
    assert registry.model("shoes") == before
    newest = registry.history(limit=3)
    assert {(c.what, c.version, c.who) for c in newest} == {("refused", 2, "bob")}
    assert newest[-1].why == "production: [nan] It gives NaN."
    registry.promote("shoes", 2, who="ann")  # control: with checks that pass it is promoted
    assert alias(registry) == {"production": 2}


@EACH
def test_two_promotions_at_once_never_pass_each_other(
    registry: ModelRegistry, bundle: Make
) -> None:
    """A version that was checked against another production than there is now is not promoted."""
    add(registry, bundle, "a", "b", "c")
    registry.promote("shoes", 1, who="ann")
    both = threading.Barrier(2)

    def slow(*_: object) -> Report:
        both.wait(20)
        return Report()

    outcomes: list[str] = []

    def run(version: int) -> None:
        slowly = ModelRegistry(registry.database, registry.blobs, check=slow)
        try:
            slowly.promote("shoes", version, who=f"who-{version}")
            outcomes.append("promoted")
        except UsageError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run, args=(version,)) for version in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=len)[0] == "promoted"
    assert "at the same moment" in sorted(outcomes, key=len)[1]
    assert [c.what for c in registry.history()].count("promote") == 2


def test_what_the_signature_says_is_different() -> None:
    base = Signature("single-label", ("a", "b", "c"))
    assert base.differences(base) == []
    assert base.differences(replace(base, task="multi-label")) == [
        "its task is 'multi-label', not 'single-label'"
    ]
    assert base.differences(replace(base, classes=("a", "b", "d"))) == [
        "it lacks 'c'",
        "it adds 'd'",
    ]
    assert base.differences(replace(base, classes=("b", "a", "c"))) == [
        "its classes stand in another order"
    ]
    many = replace(base, classes=tuple(str(n) for n in range(9)))
    assert "and 4 more" in base.differences(many)[1]


def test_two_registries_of_one_store_see_each_other(
    registry: ModelRegistry, bundle: Make, tmp_path: Path
) -> None:
    other = ModelRegistry(registry.database, FolderBlobs(tmp_path / "bundles"), check=passes)
    add(registry, bundle, "a")
    seen = other.revision()
    registry.promote("shoes", 1, who="ann")
    assert other.revision() != seen
    assert other.entries()["shoes"].production == "1"
