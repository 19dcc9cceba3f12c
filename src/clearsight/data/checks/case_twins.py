"""Class names that a person would take for one."""

from __future__ import annotations

from clearsight.data.dataset import Dataset
from clearsight.data.issue import Issue
from clearsight.data.split import twins


def case_twins(dataset: Dataset) -> list[Issue]:
    """Report classes that differ only in letter case or Unicode form, kind "case-twins"."""
    return [
        Issue(
            kind="case-twins",
            path=one,
            other=other,
            detail=f"The classes {one!r} and {other!r} differ only in letter case or Unicode form. "
            "Merge the two, or give one another name; training refuses them.",
        )
        for one, other in twins(dataset.classes)
    ]
