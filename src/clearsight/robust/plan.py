"""What a stress test measures: pieces of pictures, views of them, attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clearsight.core.errors import UnknownKeyError, UsageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.attacked import ordered
from clearsight.robust.attacks import ATTACKS, Labels
from clearsight.robust.corruptions import CORRUPTIONS
from clearsight.robust.deformations import DEFORMATIONS
from clearsight.robust.distortion import SEVERITIES, Distortion, check_severity

SUITES = ("corruptions", "deformations", "attacks", "all")


@dataclass(frozen=True)
class Piece:
    """Some of the pictures.

    Args:
        images: (n, h, w, c) uint8, prepared.
        labels: (n,) columns of the recognizer.
        places: of the pictures in the data set.
    """

    images: ImagesNHWC
    labels: Labels
    places: Sequence[int]


@dataclass(frozen=True)
class View:
    """One kind and severity."""

    suite: str
    kind: str
    severity: int
    distortion: Distortion


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Args:
        views: corruptions and deformations.
        attacks: by key, in their order; empty for none.
        model: what is attacked: a `Differentiable`, or None to ask the predictor for scores.
        black_box: why there is no model that gives gradients; empty where there is.
        epsilon: how far an attack may change each pixel, of a range from 0 to 1 (Linf).
        attack_limit: pictures that are attacked at most.
        sigma: of the certificates' noise, with pixels from 0 to 1; None for none.
        certify_limit: pictures that are certified at most.
        votes: noisy copies a certificate counts.
        left_out: kinds that are not measured, and why.
        seed: fixes every random choice.
    """

    views: tuple[View, ...] = ()
    attacks: dict[str, Any] = field(default_factory=dict)
    model: Any = None
    black_box: str = ""
    epsilon: float = 8 / 255
    attack_limit: int = 100
    sigma: float | None = None
    certify_limit: int = 50
    votes: int = 1000
    left_out: dict[str, str] = field(default_factory=dict)
    seed: int = 0

    def work(self, count: int) -> int:
        """Return how many pictures will be looked at, of so many given."""
        certified = 0 if self.sigma is None else min(count, self.certify_limit)
        attacked = min(count, self.attack_limit) * len(self.attacks)
        return count * (len(self.views) + 1) + attacked + certified


def plan_views(
    suite: str,
    grey: bool,
    kinds: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
) -> tuple[tuple[View, ...], dict[str, str]]:
    """Return the views of a suite, and the kinds that are left out with the reason.

    Args:
        suite: one of `SUITES`.
        grey: the recognizer sees grey pictures.
        kinds: only these; all where empty.
        severities: 1 to 5.

    Raises:
        UnknownKeyError: a kind that does not exist.
        UsageError: an unknown suite, a severity out of range, or nothing to measure.
    """
    if suite not in SUITES:
        raise UsageError(f"Unknown suite {suite!r}. Allowed: {', '.join(SUITES)}.")
    for severity in severities:
        check_severity(severity)
    registries = {"corruptions": CORRUPTIONS, "deformations": DEFORMATIONS}
    chosen = {name: one for name, one in registries.items() if suite in (name, "all")}
    known = [key for registry in chosen.values() for key in registry.keys()]  # noqa: SIM118
    wanted = [kind.replace("_", "-") for kind in kinds]
    for kind in wanted:
        if kind not in known:
            raise UnknownKeyError(f"kind of the suite {suite}", kind, known)
    views: list[View] = []
    left_out: dict[str, str] = {}
    for name, registry in chosen.items():
        for kind in registry.keys():  # noqa: SIM118 - a Registry
            if wanted and kind not in wanted:
                continue
            distortion: Distortion = registry.load(kind)
            if distortion.colour and grey:
                left_out[kind] = "it changes colours, and the recognizer sees grey pictures"
                continue
            views += [View(name, kind, one, distortion) for one in sorted(set(severities))]
    return tuple(views), left_out


def plan_attacks(model: Any) -> dict[str, Any]:
    """Return the attacks to run, cheap ones first, with their default options.

    Args:
        model: a `Differentiable`; None leaves the black-box ones.
    """
    loaded = {key: ATTACKS.load(key) for key in ordered(ATTACKS.keys())}
    return {
        key: kind(kind.Config())
        for key, kind in loaded.items()
        if model is not None or kind.black_box
    }
