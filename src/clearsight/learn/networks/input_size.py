"""Picks the size of a small network's input."""

from __future__ import annotations

from clearsight.learn.family import Facts


def input_size(facts: Facts, smallest: int, largest: int) -> tuple[int, int]:
    """Return (height, width): the median picture's shape, scaled so that both sides fit.

    Stretching to it distorts little, since it has the shape that most pictures have. Very long
    pictures end at the bounds.

    Args:
        facts: gives the median height and width.
        smallest, largest: bounds of each side in pixels.

    Example:
        >>> facts = Facts(("a", "b"), (1, 1), height=300, width=400, grey=False)
        >>> input_size(facts, 12, 64)
        (48, 64)
    """
    scale = min(1.0, largest / max(facts.height, facts.width))
    height, width = (round(size * scale) for size in (facts.height, facts.width))
    return max(smallest, height), max(smallest, width)
