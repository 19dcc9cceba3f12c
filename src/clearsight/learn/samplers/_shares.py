"""Passes in which classes appear in wanted shares and the pictures of a class equally often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pass_with_shares(
    labels: NDArray[np.int64], shares: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.int64]:
    """Return as many picture numbers as there are labels, in random order.

    Each class gets its share of the places, rounded up or down; within a class no picture comes
    up more than once oftener than another. Random draws with replacement would have the same
    shares on average, but leave out a third of the pictures even where there is a place for each.

    Args:
        labels: (n,) int64.
        shares: (classes,) of a pass, not negative; those of classes without pictures are not used.
        random: decides the rounding, which pictures are left out, and the order.

    Example:
        >>> labels = np.array([0] * 6 + [1] * 2)
        >>> passed = pass_with_shares(labels, np.array([0.5, 0.5]), np.random.default_rng(0))
        >>> np.bincount(labels[passed]).tolist(), np.bincount(passed)[6:].tolist()
        ([4, 4], [2, 2])
    """
    present, counts = np.unique(labels, return_counts=True)
    ends = np.cumsum(shares[present])
    edges = np.floor(ends / ends[-1] * len(labels) + random.random()).astype(np.int64)
    edges[-1] = len(labels)  # systematic sampling: one random offset rounds every edge
    places = np.diff(edges, prepend=0)
    classes = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    chosen = [
        _in_turn(members, int(count), random)
        for members, count in zip(classes, places, strict=True)
    ]
    return random.permutation(np.concatenate(chosen))


def _in_turn(
    members: NDArray[np.int64], places: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Fill the places with whole rounds of the members and a random part of one more."""
    rounds, rest = divmod(places, len(members))
    return np.concatenate([np.tile(members, rounds), random.permutation(members)[:rest]])
