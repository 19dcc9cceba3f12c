"""Every import format passes every clause, and every planted violation is caught."""

from __future__ import annotations

from clearsight.testing.contract import suite
from clearsight.testing.source_contract import SourceContract

BUILDS_A_NETWORK = (
    "check_answers_as_the_original",
    "check_reads_the_same_twice",
    "check_leaves_files_alone",
)


class TestSources(suite(SourceContract(), slow={"timm": BUILDS_A_NETWORK})):  # type: ignore[misc]
    pass
