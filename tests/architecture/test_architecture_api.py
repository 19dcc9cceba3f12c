"""The public surface is the inventory in public_api.txt: nothing appears or goes unnoticed.

After a wanted change: python tests/architecture/test_architecture_api.py
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

INVENTORY = Path(__file__).with_name("public_api.txt")
MODULES = (
    "clearsight",
    "clearsight.core.agreement",
    "clearsight.core.bundle",
    "clearsight.core.config",
    "clearsight.core.errors",
    "clearsight.core.files",
    "clearsight.core.nouns",
    "clearsight.core.progress",
    "clearsight.core.registry",
    "clearsight.core.seeds",
    "clearsight.engines.golden",
    "clearsight.engines.open",
    "clearsight.engines.predictor",
    "clearsight.engines.session",
    "clearsight.learn.family",
    "clearsight.testing.contract",
)


def surface(modules: tuple[Any, ...]) -> list[str]:
    """Return one line for every public name, with its signature."""
    return sorted(line for module in modules for line in _module(module))


def _module(module: types.ModuleType) -> Iterator[str]:
    if hasattr(module, "__all__"):
        names = list(module.__all__)
    else:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
    for name in names:
        yield from _value(f"{module.__name__}.{name}", getattr(module, name))


def _value(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
        own = {key for key in vars(value) if not key.startswith("_")}
        fields = [key for key in vars(value).get("__annotations__", {}) if not key.startswith("_")]
        yield from (f"  {name}.{field}" for field in sorted({*own, *fields}))
    elif callable(value):
        yield f"def {name}{inspect.signature(value)}"


def current() -> list[str]:
    return surface(tuple(importlib.import_module(name) for name in MODULES))


def test_the_surface_is_the_inventory() -> None:
    recorded = INVENTORY.read_text(encoding="utf-8").splitlines()
    seen = current()
    gone = [line for line in recorded if line not in seen]
    new = [line for line in seen if line not in recorded]
    assert (gone, new) == ([], []), f"Update the inventory if this is wanted:\n{__doc__}"
    assert len(seen) > 150


@pytest.mark.parametrize("change", ["added", "removed", "renamed argument"])
def test_planted_changes_are_seen(change: str) -> None:
    def module(source: str) -> types.ModuleType:
        made = types.ModuleType("planted")
        for name in source.split():
            function = types.FunctionType((lambda x: x).__code__, {}, name)
            function.__module__ = "planted"
            setattr(made, name, function)
        return made

    before = surface((module("one two"),))
    changed = {"added": "one two three", "removed": "one", "renamed argument": "one two"}[change]
    after = module(changed)
    if change == "renamed argument":
        after.two = types.FunctionType((lambda y: y).__code__, {}, "two")
        after.two.__module__ = "planted"
    assert surface((after,)) != before


def test_every_public_name_is_documented() -> None:
    undocumented = [
        f"{name}.{key}"
        for name in MODULES
        for key, value in vars(importlib.import_module(name)).items()
        if not key.startswith("_")
        and getattr(value, "__module__", "") == name
        and (inspect.isclass(value) or inspect.isfunction(value))
        and not inspect.getdoc(value)
    ]
    assert undocumented == []


if __name__ == "__main__":
    INVENTORY.write_text("\n".join(current()) + "\n", encoding="utf-8")
