"""Damaged pictures."""

from __future__ import annotations

from clearsight.data.dataset import Dataset
from clearsight.data.issue import Issue


def unreadable(dataset: Dataset) -> list[Issue]:
    """Report every picture in quarantine, kind "unreadable"."""
    return [
        Issue(kind="unreadable", path=item.name, detail=f"{item.reason}: {item.detail}")
        for item in dataset.quarantined
    ]
