"""Pictures with the same bytes."""

from __future__ import annotations

from clearsight.data.dataset import Dataset, Part, Sample
from clearsight.data.digests import same_content
from clearsight.data.issue import Issue


def duplicates(dataset: Dataset) -> list[Issue]:
    """Report "duplicate", "conflicting-label" and "leak" (the same picture in two parts).

    Each copy is reported once, against an earlier picture with the same content; a conflict
    outranks a leak, a leak outranks a plain duplicate.
    """
    issues = []
    copies: dict[int, dict[tuple[tuple[int, ...], Part | None], Sample]] = {}
    for sample, number in zip(dataset.samples, same_content(dataset), strict=True):
        earlier = copies.setdefault(number, {})
        if earlier:
            issues.append(_describe(dataset, sample, list(earlier.values())))
        earlier.setdefault((sample.labels, sample.part), sample)
    return issues


def _describe(dataset: Dataset, sample: Sample, earlier: list[Sample]) -> Issue:
    for other in earlier:
        if other.labels != sample.labels:
            detail = (
                f"The same picture is {_named(dataset, sample)} here and "
                f"{_named(dataset, other)} there. Remove the wrong one."
            )
            return Issue(
                kind="conflicting-label", path=sample.name, other=other.name, detail=detail
            )
    for other in earlier:
        if other.part != sample.part:
            detail = (
                f"The same picture is in {sample.part or 'no part'} and {other.part or 'no part'}: "
                "the score would be too good. Remove one of them."
            )
            return Issue(kind="leak", path=sample.name, other=other.name, detail=detail)
    detail = "The same picture twice. Splitting keeps both on one side; one could be removed."
    return Issue(kind="duplicate", path=sample.name, other=earlier[0].name, detail=detail)


def _named(dataset: Dataset, sample: Sample) -> str:
    names = [repr(dataset.classes[label]) for label in sample.labels]
    return " and ".join(names) or "of no class"
