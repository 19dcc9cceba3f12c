from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clearsight.core.errors import (
    ClearsightError,
    DuplicateKeyError,
    MissingExtraError,
    UnknownKeyError,
)
from clearsight.core.registry import Registry, camel


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    folder = tmp_path / "registry_for_test" / "metrics"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    (folder / "top_one.py").write_text("class TopOne: pass\n")
    (folder / "recall.py").write_text("def recall(): return 1\n")
    (folder / "needs_more.py").write_text("import a_package_nobody_has\n")
    (folder / "nameless.py").write_text("x = 1\n")
    (folder / "explodes.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_shared.py").write_text("")
    (folder / "shapes.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Registry(
        "registry_for_test.metrics", "metric", extra="train", not_keys=frozenset({"shapes"})
    )
    for name in [name for name in sys.modules if name.startswith("registry_for_test")]:
        del sys.modules[name]


def test_file_names_are_keys_and_listing_imports_nothing(registry: Registry) -> None:
    assert registry.keys() == ["explodes", "nameless", "needs-more", "recall", "top-one"]
    assert not [name for name in sys.modules if name.startswith("registry_for_test.metrics.")]


def test_loads_the_class_or_the_function(registry: Registry) -> None:
    assert registry.load("top-one").__name__ == "TopOne"
    assert registry.load("recall")() == 1


def test_unknown_key_never_picks_a_neighbour(registry: Registry) -> None:
    with pytest.raises(UnknownKeyError, match="Did you mean 'recall'"):
        registry.load("recal")
    with pytest.raises(UnknownKeyError):
        registry.load("shapes")
    with pytest.raises(UnknownKeyError):
        registry.load("../recall")


def test_missing_package_names_the_extra(registry: Registry) -> None:
    with pytest.raises(MissingExtraError, match=r"a_package_nobody_has.*clearsight\[train\]"):
        registry.load("needs-more")


def test_file_without_its_class_is_refused(registry: Registry) -> None:
    with pytest.raises(ClearsightError, match="must define the class 'Nameless'"):
        registry.load("nameless")


def test_a_missing_module_of_our_own_is_a_bug_and_not_an_extra(registry: Registry) -> None:
    (registry.folder() / "wrong.py").write_text("import clearsight.no_such_room\n")
    with pytest.raises(ModuleNotFoundError):
        registry.load("wrong")


def entry_point(name: str, group: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, "math:sqrt", group)


def test_entry_points_add_keys(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def points(group: str) -> list[importlib.metadata.EntryPoint]:
        asked.append(group)
        return [entry_point("root", group)]

    monkeypatch.setattr(importlib.metadata, "entry_points", points)
    assert registry.keys()[-2:] == ["root", "top-one"]
    assert registry.load("root")(4.0) == 2.0
    assert set(asked) == {"clearsight.registry_for_test.metrics"}


def test_duplicate_raises(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [entry_point("recall", group)]
    )
    with pytest.raises(DuplicateKeyError, match="recall"):
        registry.keys()


def test_not_a_package() -> None:
    with pytest.raises(ClearsightError, match="not a package"):
        Registry("clearsight.core.errors", "thing").keys()


def test_camel() -> None:
    assert camel("linear_svm") == "LinearSvm"
