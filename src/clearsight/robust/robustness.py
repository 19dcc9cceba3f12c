"""What a stress test found: accuracy by kind and severity, each with n and interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImageHWC
from clearsight.core.proportions import LEVEL, wilson
from clearsight.robust.attacked import Sign
from clearsight.robust.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of some pictures are recognised.

    Args:
        right: of them.
        n: pictures.
    """

    right: int
    n: int

    @property
    def accuracy(self) -> float:
        """The share, in [0, 1]."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return wilson(self.right, self.n)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over pictures with its 95 % interval (normal, over pictures)."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Mean:
        """Return the mean of one value a picture."""
        mean = float(values.mean())
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        half = NormalDist().inv_cdf((1 + LEVEL) / 2) * spread / len(values) ** 0.5
        return cls(mean, mean - half, mean + half, len(values))


@dataclass(frozen=True, slots=True)
class ClassFailure:
    """When one class is no longer recognised: recall below half of what it is on clean pictures.

    Args:
        name: the class.
        n: its pictures.
        right: of them, recognised clean.
        severity: the lowest at which it fails; None where it holds or has too few right pictures.
        kinds: every kind under which it fails, with the lowest severity.
        judged: it has enough right clean pictures to say.
    """

    name: str
    n: int
    right: int
    severity: int | None
    kinds: dict[str, int]
    judged: bool


@dataclass(frozen=True)
class Example:
    """A picture that is recognised clean and not when it is changed.

    Args:
        kind: the corruption, deformation or attack.
        severity: the lowest at which a picture was lost; None for an attack.
        place: of the picture in the data set.
        truth, predicted: class names.
        before, after: (h, w, c) uint8 as the model sees them.
    """

    kind: str
    severity: int | None
    place: int
    truth: str
    predicted: str
    before: ImageHWC
    after: ImageHWC


Rates = dict[str, dict[int, Rate]]
"""By kind and severity."""


@dataclass(frozen=True)
class AttackFindings:
    """What attacks found.

    Args:
        rates: accuracy under each attack, and "ensemble": under all of them together.
        clean: the same pictures unharmed.
        epsilon: how far each pixel may be changed, of a range from 0 to 1 (Linf).
        black_box: why only black-box attacks were run; empty where gradients were there.
        signs: what suggests that the gradients hide weakness.
    """

    rates: dict[str, Rate]
    clean: Rate
    epsilon: float
    black_box: str
    signs: tuple[Sign, ...]

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks for hidden gradients."""
        return not self.signs


@dataclass(frozen=True)
class Robustness:
    """Everything a stress test found; what the robustness card shows.

    Args:
        classes: class names.
        n: pictures.
        clean: accuracy on unchanged pictures.
        corruptions, deformations: accuracy by kind and severity; empty where not asked for.
        mce: mean corruption error: the share of errors, averaged over the published kinds that
            were measured and their severities.
        relative_mce: the same beyond the errors on clean pictures.
        mce_kinds: how many kinds these stand on (15 when all were measured).
        attacks: None where not asked for.
        certificate: None where not asked for.
        failures: every class, the first to fail first.
        examples: pictures that were lost, one a kind.
        left_out: kinds that say nothing about this recognizer, and why.
        seconds: wall-clock time.
    """

    classes: tuple[str, ...]
    n: int
    clean: Rate
    corruptions: Rates
    deformations: Rates
    mce: Mean | None
    relative_mce: Mean | None
    mce_kinds: int
    attacks: AttackFindings | None
    certificate: Certificate | None
    failures: tuple[ClassFailure, ...]
    examples: tuple[Example, ...]
    left_out: dict[str, str]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the object that `clearsight stress --json` prints (DESIGN's field names)."""
        return {
            "n": self.n,
            "clean": self.clean.accuracy,
            "clean_ci": list(self.clean.interval),
            "corruptions": _accuracies(self.corruptions),
            "deformations": _accuracies(self.deformations),
            "attacks": _attacks(self.attacks),
            "intervals": {
                "corruptions": _intervals(self.corruptions),
                "deformations": _intervals(self.deformations),
                "attacks": {
                    underscored(key): list(rate.interval)
                    for key, rate in (self.attacks.rates if self.attacks else {}).items()
                },
            },
            "mce": _mean(self.mce),
            "relative_mce": _mean(self.relative_mce),
            "mce_kinds": self.mce_kinds,
            "attack": None if self.attacks is None else _attack_details(self.attacks),
            "certificate": None if self.certificate is None else self.certificate.to_json(),
            "class_failures": [asdict(item) for item in self.failures],
            "left_out": self.left_out,
            "seconds": self.seconds,
        }


def underscored(key: str) -> str:
    """Return a key the way JSON names it."""
    return key.replace("-", "_")


def mean_accuracy(rates: Mapping[str, Mapping[int, Rate]]) -> float:
    """Return the accuracy averaged over kinds and severities."""
    return float(np.mean([rate.accuracy for by in rates.values() for rate in by.values()]))


def _accuracies(rates: Rates) -> dict[str, dict[str, float]]:
    return {
        underscored(kind): {str(severity): rate.accuracy for severity, rate in by.items()}
        for kind, by in rates.items()
    }


def _intervals(rates: Rates) -> dict[str, dict[str, list[float]]]:
    return {
        underscored(kind): {str(severity): list(rate.interval) for severity, rate in by.items()}
        for kind, by in rates.items()
    }


def _attacks(found: AttackFindings | None) -> dict[str, float]:
    rates = found.rates if found else {}
    return {underscored(key): rate.accuracy for key, rate in rates.items()}


def _mean(mean: Mean | None) -> dict[str, Any] | None:
    return None if mean is None else asdict(mean)


def _attack_details(found: AttackFindings) -> dict[str, Any]:
    return {
        "n": found.clean.n,
        "clean": found.clean.accuracy,
        "epsilon": found.epsilon,
        "norm": "Linf",
        "black_box": found.black_box or None,
        "signs_of_masking": [asdict(sign) for sign in found.signs],
        "trusted": found.trusted,
    }
