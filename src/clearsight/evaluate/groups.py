"""Letters for recognizers: two that share one are not told apart."""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_lowercase


def letters(count: int, different: Iterable[tuple[int, int]]) -> list[str]:
    """Return the letters of each of `count` recognizers, given which pairs differ.

    Two share a letter exactly when they do not differ. That is no equivalence: with a and b not
    told apart, and b and c, a and c may be; b then carries two letters.

    Args:
        count: recognizers, best first.
        different: pairs of their numbers.

    Source: Piepho 2004, "An Algorithm for a Letter-Based Representation of All-Pairwise
        Comparisons" (insert and absorb).

    Example:
        >>> letters(3, [(0, 2)])
        ['a', 'ab', 'b']
    """
    groups = [frozenset(range(count))]
    for pair in sorted(different):
        split = [group - {one} for group in groups if group >= set(pair) for one in pair]
        kept = [group for group in groups if not group >= set(pair)]
        groups = _absorb(kept + split)
    groups.sort(key=sorted)
    return [
        "".join(_letter(place) for place, group in enumerate(groups) if one in group)
        for one in range(count)
    ]


def _absorb(groups: list[frozenset[int]]) -> list[frozenset[int]]:
    """Drop every group that another one holds."""
    distinct = set(groups)
    return [group for group in distinct if not any(group < other for other in distinct)]


def _letter(place: int) -> str:
    """Return a, b, ..., z, then a1, b1, ..."""
    return ascii_lowercase[place % 26] + (str(place // 26) if place >= 26 else "")
