"""SHA-256 of many pictures at once, and which of them have the same content."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from clearsight.core.errors import ImageError
from clearsight.data.dataset import Dataset
from clearsight.data.source import ArraySource

_CHUNK = 128


def digests(dataset: Dataset, indices: Sequence[int] | None = None) -> list[str]:
    """Return the SHA-256 of the content of each picture, in order.

    A file that cannot be read gets a digest of its own, made from its name, so that it equals
    no other picture.

    Args:
        dataset: the pictures.
        indices: which ones; all when None.
    """
    chosen = range(len(dataset)) if indices is None else indices
    if isinstance(dataset.source, ArraySource):
        return [dataset.digest(index) for index in chosen]

    def work(start: int) -> list[str]:
        return [_digest(dataset, index) for index in chosen[start : start + _CHUNK]]

    with ThreadPoolExecutor(max_workers=max(4, os.cpu_count() or 1)) as pool:
        chunks = pool.map(work, range(0, len(chosen), _CHUNK))
        return [digest for chunk in chunks for digest in chunk]


def same_content(dataset: Dataset) -> list[int]:
    """Number the pictures so that two have the same number when their bytes are the same.

    Only files that share their size with another are read.

    Returns:
        For every picture the index of the first picture with the same content.
    """
    by_size: dict[int, list[int]] = defaultdict(list)
    for index, sample in enumerate(dataset.samples):
        by_size[dataset.source.size(sample.name)].append(index)
    candidates = sorted(i for indices in by_size.values() if len(indices) > 1 for i in indices)
    first: dict[str, int] = {}
    numbers = list(range(len(dataset)))
    for index, digest in zip(candidates, digests(dataset, candidates), strict=True):
        numbers[index] = first.setdefault(digest, index)
    return numbers


def _digest(dataset: Dataset, index: int) -> str:
    try:
        return dataset.digest(index)
    except ImageError:
        return f"unreadable:{dataset.samples[index].name}"
