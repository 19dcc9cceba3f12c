"""One hash for a whole data set: the same pictures under the same classes give the same hash."""

from __future__ import annotations

import hashlib

from clearsight.data.dataset import Dataset
from clearsight.data.digests import digests


def fingerprint(dataset: Dataset) -> str:
    """Return a SHA-256 over every picture's name, class name and content.

    Independent of the order, of the split, of where the folder lies and of file dates. Reads
    every file once (contents are remembered by the data set).

    Args:
        dataset: the pictures.

    Returns:
        64 hex digits.
    """
    lines = sorted(
        "\0".join([sample.name, *dataset.label_names(index), digest]) + "\n"
        for index, (sample, digest) in enumerate(
            zip(dataset.samples, digests(dataset), strict=True)
        )
    )
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()
