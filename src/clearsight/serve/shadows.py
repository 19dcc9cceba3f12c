"""How a version in the shadow would have answered, beside the version that did."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from clearsight.core.nouns import Prediction
from clearsight.serve.models import Model


@dataclass(slots=True)
class Comparison:
    """Counts of one pair of versions since the service started.

    Args:
        production, shadow: the versions.
        pictures: how many both answered.
        same_label: how many got the same best label.
        accepted_by_one: how many only one of the two accepted.
        difference: sum over pictures of |score of production's label there - here|.
    """

    production: str
    shadow: str
    pictures: int = 0
    same_label: int = 0
    accepted_by_one: int = 0
    difference: float = 0.0


class Shadows:
    """Compares answers, picture by picture. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pairs: dict[tuple[str, str, str], Comparison] = {}

    def compare(self, shadow: Model, version: str, answered: Prediction, seen: Prediction) -> None:
        """Count one picture.

        Args:
            shadow: the model that looked on.
            version: the version that answered.
            answered: what the client got.
            seen: what the shadow would have said.
        """
        there = dict(zip(seen.labels, seen.scores, strict=True)).get(answered.label, 0.0)
        with self._lock:
            key = (shadow.name, version, shadow.version)
            pair = self._pairs.setdefault(key, Comparison(version, shadow.version))
            pair.pictures += 1
            pair.same_label += answered.label == seen.label
            pair.accepted_by_one += answered.accepted != seen.accepted
            pair.difference += abs(answered.score - there)

    def report(self, name: str) -> list[Comparison]:
        """Return every pair of a model's versions that was compared."""
        with self._lock:
            return [pair for (model, _, _), pair in self._pairs.items() if model == name]
