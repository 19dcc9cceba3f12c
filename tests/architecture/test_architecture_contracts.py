"""The contract kit itself: every kind has a contract, every key is a case, a hollow one fails."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from clearsight.core.registry import Registry
from clearsight.testing.contract import Contract, suite

ROOT = Path(__file__).parents[2]
TESTING = ROOT / "src" / "clearsight" / "testing"


def registries() -> set[str]:
    """Return the package of every registry that the source creates."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and ast.unparse(node.func) == "Registry"
            if called and node.args and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return found


def contracts() -> dict[str, type[Contract]]:
    """Return every contract of the kit by the package of its registry."""
    for path in TESTING.glob("*_contract.py"):
        importlib.import_module(f"clearsight.testing.{path.stem}")
    ours = [kind for kind in Contract.__subclasses__() if kind.__module__.startswith("clearsight.")]
    return {kind.registry.package: kind for kind in ours}


def test_every_kind_has_a_contract_and_every_contract_is_run() -> None:
    assert len(registries()) > 6
    assert set(contracts()) == registries()
    run = "\n".join(path.read_text() for path in (ROOT / "tests" / "contracts").glob("test_*.py"))
    for kind in contracts().values():
        assert re.search(rf"suite\({kind.__name__}\(\)[,)]", run), f"{kind.__name__} is not run"


def test_every_clause_has_a_planted_violation() -> None:
    for kind in contracts().values():
        contract = kind()
        assert contract.clauses(), kind
        assert set(contract.broken()) == set(contract.clauses()), kind


class Numbers(Contract):
    """A contract over the engines' registry, whose clause looks at a number."""

    registry = Registry("clearsight.engines", "number")

    def check_is_small(self, implementation: Any) -> None:
        assert implementation < 10

    def broken(self) -> dict[str, Any]:
        return {"check_is_small": 11}


def test_a_planted_violation_that_passes_is_found_out() -> None:
    Numbers().must_fail("check_is_small")

    class Hollow(Numbers):
        def check_is_small(self, implementation: Any) -> None:
            pass

    with pytest.raises(BaseException, match="DID NOT RAISE"):
        Hollow().must_fail("check_is_small")


def test_a_file_that_is_not_collected_is_found_out() -> None:
    class Blind(Registry):
        def keys(self) -> list[str]:
            return super().keys()[1:]

    class Missing(Numbers):
        registry = Blind("clearsight.engines", "number")

    suite(Numbers())().test_every_file_is_a_case()
    with pytest.raises(AssertionError, match="not collected"):
        suite(Missing())().test_every_file_is_a_case()


def test_a_clause_without_a_planted_violation_is_found_out() -> None:
    class More(Numbers):
        def check_is_even(self, implementation: Any) -> None:
            assert implementation % 2 == 0

    with pytest.raises(AssertionError, match="no planted violation"):
        suite(More())().test_every_file_is_a_case()
