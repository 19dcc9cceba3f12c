"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import clearsight

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(clearsight.__path__, "clearsight.")
    if not module.name.endswith("__main__")
)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    core = [name for name in MODULES if name.startswith("clearsight.core.")]
    tests = [test for name in core for test in finder.find(importlib.import_module(name))]
    assert sum(bool(test.examples) for test in tests) >= 8
