"""`--model auto`: which families are worth training on such data in such a time, and why."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

from clearsight.learn.family import Facts

SMALL_SIDE = 64
"""Pictures up to this side in pixels are what small networks are made for."""
FEW_PER_CLASS = 100
"""Below this many pictures a class a network from scratch has too little to learn from."""
HOG_SHARE = 0.15


@dataclass(frozen=True)
class Candidate:
    """A family to train, with how much of the time it may take and why it is on the list.

    Args:
        key: a key of the family registry.
        config: plain values for the family's Config.
        share_of_time: weight among the candidates; time that one leaves goes to the next.
        reason: one sentence for the story.
    """

    key: str
    config: dict[str, Any] = field(default_factory=dict)
    share_of_time: float = 1.0
    reason: str = ""


def shortlist(
    facts: Facts, time_s: float | None = None, epochs: float | None = None
) -> list[Candidate]:
    """Return the candidates for such data, the quick ones first; validation decides among them.

    Args:
        facts: of the training part.
        time_s: seconds the whole training may take, or None.
        epochs: passes over the training part, or None.
    """
    if importlib.util.find_spec("torch") is None:
        return [Candidate("hog-svm", {}, 1.0, "torch is not installed, and this one needs none")]
    if max(facts.height, facts.width) <= SMALL_SIDE:
        return _for_small(facts)
    return [Candidate("probe", {}, 1.0, f"pictures of {facts.height}x{facts.width} pixels")]


def _for_small(facts: Facts) -> list[Candidate]:
    size = f"pictures of {facts.height}x{facts.width} pixels"
    compact = Candidate("compact", {}, 1 - HOG_SHARE, size)
    if facts.n_train < FEW_PER_CLASS * len(facts.classes):
        reason = f"only {facts.n_train} pictures: no network needed to compete"
        return [Candidate("hog-svm", {}, HOG_SHARE, reason), compact]
    return [Candidate("compact", {}, 1.0, size)]
