"""A contract is a class whose `check_*` methods are clauses; each takes one implementation.

Example:
    >>> class MetricContract(Contract):
    ...     def check_is_finite(self, implementation): assert implementation([1.0]) < 2
    ...     def broken(self): return {"check_is_finite": lambda values: 3.0}
    >>> MetricContract().clauses()
    ['check_is_finite']
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import pytest

from clearsight.core.registry import Registry


class Contract:
    """Base of every contract.

    A subclass sets `registry` and defines `check_*(implementation)` methods that fail with an
    AssertionError (or a typed error), and `broken()`: for every clause one planted violation.
    """

    registry: Registry

    def clauses(self) -> list[str]:
        """Return the names of the clauses."""
        return sorted(name for name in dir(self) if name.startswith("check_"))

    def broken(self) -> dict[str, Any]:
        """Return, for every clause, an implementation that must fail it."""
        raise NotImplementedError

    def run(self, clause: str, implementation: Any) -> None:
        """Run one clause on one implementation."""
        getattr(self, clause)(implementation)

    def must_fail(self, clause: str) -> None:
        """Assert that the planted violation of a clause is caught."""
        planted = self.broken()[clause]
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - any failure is the point
            self.run(clause, planted)
        assert not isinstance(caught.value, (KeyboardInterrupt, SystemExit))


def suite(contract: Contract, slow: Mapping[str, Container[str]] | None = None) -> type:
    """Return a pytest class: every key passes every clause, and every planted violation fails.

    Use in tests/contracts: `class TestEngines(suite(EngineContract())): pass`.

    Args:
        contract: the contract.
        slow: by key, the clauses that take minutes; they are marked `slow`.
    """
    keys = contract.registry.keys()
    clauses = contract.clauses()
    cases = [
        pytest.param(key, clause, marks=[pytest.mark.slow] if clause in slow_ones else [])
        for key in keys
        for slow_ones in [(slow or {}).get(key, ())]
        for clause in clauses
    ]

    class Suite:
        contract_under_test = contract

        @pytest.mark.parametrize(("key", "clause"), cases)
        def test_holds(self, key: str, clause: str) -> None:
            contract.run(clause, contract.registry.load(key))

        @pytest.mark.parametrize("clause", clauses)
        def test_planted_violation_is_caught(self, clause: str) -> None:
            contract.must_fail(clause)

        def test_every_file_is_a_case(self) -> None:
            files = {
                path.stem.replace("_", "-")
                for path in contract.registry.folder().glob("*.py")
                if not path.stem.startswith("_")
            } - contract.registry.not_keys
            assert keys
            assert files <= set(keys), "a file in the folder is not collected"
            assert set(contract.broken()) == set(clauses), "a clause has no planted violation"

    return Suite
