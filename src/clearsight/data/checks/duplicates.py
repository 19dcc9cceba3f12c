"""Pictures with the same bytes."""

from __future__ import annotations

from clearsight.data.dataset import Dataset, Sample
from clearsight.data.digests import same_content
from clearsight.data.issue import Issue


def duplicates(dataset: Dataset) -> list[Issue]:
    """Report "duplicate", "conflicting-label" and "leak" (the same picture in two parts).

    Each copy is reported once, with the first picture of the same content as `other`; a
    conflict or a leak outranks a plain duplicate. A picture in test and elsewhere is reported
    against a copy in another part.
    """
    issues = []
    copies: dict[int, list[Sample]] = {}
    for sample, number in zip(dataset.samples, same_content(dataset), strict=True):
        earlier = copies.setdefault(number, [])
        if earlier:
            issues.append(_describe(dataset, sample, earlier))
        earlier.append(sample)
    return issues


def _describe(dataset: Dataset, sample: Sample, earlier: list[Sample]) -> Issue:
    for other in earlier:
        if other.label != sample.label:
            detail = (
                f"The same picture is {dataset.classes[sample.label]!r} here and "
                f"{dataset.classes[other.label]!r} there. Remove the wrong one."
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
