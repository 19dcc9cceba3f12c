"""Which version answers whom, and how versions are swapped."""

from dataclasses import replace
from pathlib import Path

import pytest

from clearsight.core.errors import BundleError
from clearsight.serve.access.caller import ANONYMOUS, Caller
from clearsight.serve.catalogue import Entry, Together, Version
from clearsight.serve.errors import (
    ImpossibleRequestError,
    StartError,
    UnknownModelError,
    UnknownVersionError,
)
from clearsight.serve.models import Model, Models


class Shelf:
    """A catalogue that a test changes."""

    def __init__(self, *entries):
        self.count = 0
        self.told = {entry.name: entry for entry in entries}

    def revision(self):
        return self.count

    def entries(self):
        return dict(self.told)

    def folder(self, version):
        return version.path

    def change(self, entry):
        self.told[entry.name] = entry
        self.count += 1


class Keeper:
    """Loads nothing, and remembers what it was told."""

    def __init__(self):
        self.loaded, self.retired, self.broken = [], [], set()

    def load(self, model):
        if model.version in self.broken:
            raise BundleError(f"version {model.version} is broken")
        model.predictor = object()
        self.loaded.append((model.name, model.version))

    def has_room(self, model):
        return True

    def retire(self, model):
        self.retired.append((model.name, model.version))


def entry(name="shoes", versions="12", production="1", **told):
    tenant = told.get("tenant", "")
    found = {v: Version(name, v, Path(name) / v, tenant) for v in versions}
    return Entry(name, found, production, **told)


def new_model(version):
    return Model(version.name, version.version, tenant=version.tenant, source=lambda: None)


@pytest.fixture
def keeper():
    return Keeper()


def models_of(keeper, *entries):
    shelf = Shelf(*entries)
    return shelf, Models(shelf, new_model, keeper)


def key(name, tenant=""):
    return Caller(name, tenant, frozenset({"recognize"}))


def test_production_answers_and_only_it_is_loaded(keeper):
    _, models = models_of(keeper, entry())
    assert models.resolve(None, None, ANONYMOUS).version == "1"
    assert keeper.loaded == [("shoes", "1")]


def test_versions_and_aliases_can_be_asked_for(keeper):
    _, models = models_of(keeper, entry(canary=("2", 0.0)))
    assert models.resolve("shoes", "2", ANONYMOUS).version == "2"
    assert models.resolve("shoes", "production", ANONYMOUS).version == "1"
    assert models.resolve("shoes", "canary", ANONYMOUS).version == "2"
    with pytest.raises(UnknownVersionError):
        models.resolve("shoes", "3", ANONYMOUS)
    with pytest.raises(UnknownVersionError):
        models.resolve("shoes", "shadow", ANONYMOUS)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_canary_answers_its_share_of_keys_and_always_the_same_ones(keeper, share):
    _, models = models_of(keeper, entry(canary=("2", share)))
    keys = [key(f"k{i}") for i in range(1000)]
    first = [models.resolve(None, None, k).version for k in keys]
    assert first == [models.resolve(None, None, k).version for k in keys]
    assert first.count("2") == pytest.approx(1000 * share, abs=50 if 0 < share < 1 else 0)


def test_without_keys_a_canary_answers_its_share_of_requests(keeper):
    _, models = models_of(keeper, entry(canary=("2", 0.5)))
    seen = [models.resolve(None, None, ANONYMOUS, f"r{i}").version for i in range(400)]
    assert 140 < seen.count("2") < 260


def test_other_tenants_models_do_not_exist(keeper):
    _, models = models_of(keeper, entry("ours", tenant="us"), entry("theirs", tenant="them"))
    assert models.resolve(None, None, key("a", "us")).name == "ours"
    assert [seen.name for seen in models.entries(key("a", "us"))] == ["ours"]
    with pytest.raises(UnknownModelError) as unknown:
        models.resolve("theirs", None, key("a", "us"))
    with pytest.raises(UnknownModelError) as missing:
        models.resolve("nothere", None, key("a", "us"))
    assert "theirs'" not in str(missing.value).replace("'nothere'", "")
    assert str(unknown.value).replace("theirs", "X") == str(missing.value).replace("nothere", "X")


def test_several_models_must_be_named(keeper):
    _, models = models_of(keeper, entry("cats"), entry("dogs"))
    with pytest.raises(ImpossibleRequestError, match="cats, dogs"):
        models.resolve(None, None, ANONYMOUS)


def test_a_promotion_loads_the_new_version_before_it_answers(keeper):
    shelf, models = models_of(keeper, entry())
    old = models.resolve(None, None, ANONYMOUS)
    shelf.change(entry(production="2"))
    assert models.refresh()
    new = models.resolve(None, None, ANONYMOUS)
    assert (new.version, new.loaded) == ("2", True)
    assert old.loaded
    assert not models.refresh(), "nothing changed since"


def test_a_version_that_is_kept_stays_the_same_object(keeper):
    shelf, models = models_of(keeper, entry())
    before = models.resolve(None, "1", ANONYMOUS)
    shelf.change(entry(production="2"))
    models.refresh()
    assert models.resolve(None, "1", ANONYMOUS) is before


def test_a_version_that_cannot_be_loaded_changes_nothing_and_says_why(keeper):
    shelf, models = models_of(keeper, entry())
    keeper.broken.add("2")
    shelf.change(entry(production="2"))
    models.refresh()
    assert models.resolve(None, None, ANONYMOUS).version == "1"
    assert "version 2 is broken" in models.problems["shoes"]
    keeper.broken.clear()
    shelf.change(entry(production="2"))
    models.refresh()
    assert models.resolve(None, None, ANONYMOUS).version == "2"
    assert not models.problems


def test_what_is_gone_is_let_go(keeper):
    shelf, models = models_of(keeper, entry(), entry("hats", "1"))
    shelf.change(entry(versions="23", production="3"))
    models.refresh()
    assert keeper.retired == [("shoes", "1")] or ("shoes", "1") in keeper.retired
    assert models.names() == ["hats", "shoes"]


def test_a_shadow_looks_on_at_production_alone(keeper):
    _, models = models_of(keeper, entry(shadow="2"))
    production = models.resolve(None, None, ANONYMOUS)
    onlooker = models.shadow(production)
    assert onlooker.version == "2"
    assert models.shadow(onlooker) is None


def test_the_first_of_several_catalogues_wins_a_name():
    ours, theirs = Shelf(entry(production="1")), Shelf(entry(production="2"), entry("hats", "1"))
    both = Together([ours, theirs])
    assert both.entries()["shoes"].production == "1"
    assert set(both.entries()) == {"shoes", "hats"}
    before = both.revision()
    theirs.change(replace(entry("hats", "12"), production="2"))
    assert both.revision() != before


@pytest.mark.parametrize("name", ["Upper", "../x", "x" * 65, ""])
def test_names_that_no_request_can_carry(keeper, name):
    with pytest.raises(StartError):
        models_of(keeper, entry(name))


def test_nothing_to_serve(keeper):
    with pytest.raises(StartError, match="no model"):
        models_of(keeper)
