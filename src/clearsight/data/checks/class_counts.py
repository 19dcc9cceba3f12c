"""Too few classes, too few pictures of a class, or far more of one class than of another."""

from __future__ import annotations

from collections import Counter

from clearsight.data.dataset import Dataset
from clearsight.data.issue import Issue

SMALL_CLASS = 10
IMBALANCE_RATIO = 10


def class_counts(dataset: Dataset) -> list[Issue]:
    """Report "one-class", "lost-class", "small-class" (below 10) and "imbalance" (10 : 1)."""
    counts = dict(zip(dataset.classes, dataset.counts(), strict=True))
    present = {name: count for name, count in counts.items() if count}
    issues = [
        Issue(kind="lost-class", path=name, detail="Every picture of this class is damaged.")
        for name in counts
        if name not in present
    ]
    if len(present) < 2:
        detail = f"Training needs at least two classes; got {len(present)}."
        issues.append(Issue(kind="one-class", path=next(iter(present), ""), detail=detail))
    train = Counter(
        dataset.classes[label]
        for item in dataset.samples
        if item.part in ("train", None)
        for label in item.labels
    )
    for name in present:
        if train and train[name] < SMALL_CLASS:
            detail = (
                f"{train[name]} pictures to train and validate on; results for fewer than "
                f"{SMALL_CLASS} say little. Add more."
            )
            issues.append(Issue(kind="small-class", path=name, detail=detail))
    return issues + _imbalance(train)


def _imbalance(counts: Counter[str]) -> list[Issue]:
    if len(counts) < 2:
        return []
    (most, high), (least, low) = counts.most_common()[0], counts.most_common()[-1]
    if high < IMBALANCE_RATIO * low:
        return []
    detail = (
        f"{most!r} has {high} pictures, {least!r} only {low}. Look at balanced accuracy, "
        f"and add pictures of {least!r}."
    )
    return [Issue(kind="imbalance", path=least, other=most, detail=detail)]
