"""Uneven classes: seen in the training labels, remedied as validation says, and told.

Three things happen when the largest class is surely several times the smallest. A network that
takes its loss from here is trained with the logit-adjusted loss. After training, what is left of
the training shares in the scores is measured on validation and taken out by one number per class,
which is part of the exported model. And candidates are ranked by balanced accuracy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.calibration import fit_temperature
from clearsight.core.nouns import Scores
from clearsight.core.progress import Progress
from clearsight.learn.family import Facts, Fitted
from clearsight.learn.logit_adjustment import Adjusted, fit_prior_strength
from clearsight.learn.losses import LOSSES
from clearsight.learn.samplers import SAMPLERS
from clearsight.learn.training import Choice, Training

STRONG = 5.0
"""From this ratio of the largest to the smallest class on something is done."""
SURE = 2.0
"""Standard errors by which the ratio must be above that."""
LOSS = "logit-adjusted"
SHARES = "the same scores, weighted by the training shares"
BALANCED = "the scores as they came from the chosen loss or sampler"
"""What the remedied scores are compared with."""
RAREST = 4
"""Gains are told for the rarest one of so many classes."""

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Imbalance:
    """How uneven the training pictures of the classes are.

    Args:
        counts: training pictures per class; those without any are left out of every figure.

    Example:
        >>> uneven = Imbalance((900, 300, 0, 9))
        >>> round(uneven.ratio), uneven.strong, Imbalance((30, 6)).strong
        (100, True, False)
    """

    counts: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """The largest class's pictures over the smallest one's."""
        present = [count for count in self.counts if count]
        return max(present) / min(present) if present else 1.0

    @property
    def least_ratio(self) -> float:
        """The ratio less `SURE` standard errors of its logarithm (counts vary as Poisson's)."""
        present = [count for count in self.counts if count]
        if not present:
            return 1.0
        error = math.sqrt(1 / max(present) + 1 / min(present))
        return max(1.0, self.ratio * math.exp(-SURE * error))

    @property
    def strong(self) -> bool:
        """Whether something is done about it."""
        return self.least_ratio >= STRONG

    @property
    def effective_classes(self) -> float:
        """exp(entropy of the shares): how many classes of one size would be as varied.

        Source: Hill, Diversity and Evenness (1973), number of order 1.
        """
        shares = np.array([count for count in self.counts if count], dtype=np.float64)
        shares /= max(1.0, float(shares.sum()))
        return float(np.exp(-(shares * np.log(shares)).sum()))

    @property
    def log_prior(self) -> NDArray[np.float64]:
        """(classes,) log of the shares; a class without pictures counts as the largest.

        (Taking a small share out would favour what was never learnt.)
        """
        counts = np.array(self.counts, dtype=np.float64)
        counts[counts == 0] = max(1.0, float(counts.max(initial=1.0)))
        return np.asarray(np.log(counts / max(1, sum(self.counts))))

    def rarest(self) -> NDArray[np.int64]:
        """Return the numbers of the rarest quarter of the classes (at least one), rarest first."""
        present = [number for number, count in enumerate(self.counts) if count]
        ranked = sorted(present, key=lambda number: (self.counts[number], number))
        return np.array(ranked[: max(1, math.ceil(len(ranked) / RAREST))], dtype=np.int64)


@dataclass(frozen=True)
class Remedy:
    """What training does about uneven classes; made by `find_remedy`.

    Args:
        imbalance: of the training part.
        classes: class names.
    """

    imbalance: Imbalance
    classes: tuple[str, ...]

    def training(self, asked: Training, gradients: bool) -> Training:
        """Return how to train: with the logit-adjusted loss unless a loss or sampler was chosen.

        Args:
            asked: what the user decided.
            gradients: whether the family trains by gradient descent.
        """
        if not gradients or asked.loss is not None or asked.sampler is not None:
            return asked
        return asked.model_copy(update={"loss": Choice(name=LOSS)})

    def apply(
        self,
        fitted: Fitted,
        logits: Scores,
        labels: Labels,
        training: Training,
        progress: Progress,
    ) -> tuple[Adjusted, Scores, float]:
        """Take what is left of the training shares out of the scores, if validation agrees.

        Args:
            fitted: the model as trained.
            logits: (n, classes) float32 of it on the validation part.
            labels: (n,) int64 of the validation part.
            training: how it was trained, see `training`.
            progress: told what it brought.

        Returns:
            The model to go on with, its scores on the validation part, and their temperature.
        """
        expected = 0.0 if balances(training) else 1.0
        prior = self.imbalance.log_prior
        temperature, strength = fit_prior_strength(logits, labels, prior, expected)
        offsets = (-temperature * strength * (prior - prior.mean())).astype(np.float32)
        adjusted = logits + offsets
        before, after = (balanced_accuracy(scores, labels) for scores in (logits, adjusted))
        if after < before:
            offsets, adjusted, strength = np.zeros_like(offsets), logits, 0.0
            temperature = fit_temperature(logits, labels)
        own = training.loss == Choice(name=LOSS)
        shares = prior.astype(np.float32) if own else np.zeros_like(offsets)
        told: dict[str, Any] = {
            "ratio": round(self.imbalance.ratio, 2),
            "effective_classes": round(self.imbalance.effective_classes, 2),
            "classes": len(self.classes),
            "n": len(labels),
            "loss": training.loss.name if training.loss else None,
            "sampler": training.sampler.name if training.sampler else None,
            "strength": round(strength, 4),
            "without": BALANCED if expected == 0 and not own else SHARES,
            "even_classes": expected == 0 or strength != 0,
            **self._gains(logits + shares, adjusted, labels),
        }
        recall = told["rarest"]["recall"]
        progress.say(
            f"Rarest classes: recall {recall['before']:.3f} -> {recall['after']:.3f} on "
            f"{told['rarest']['val']} validation pictures",
            strength=told["strength"],
        )
        return Adjusted(fitted, offsets, {"imbalance": told}), adjusted, temperature

    def _gains(self, before: Scores, after: Scores, labels: Labels) -> dict[str, Any]:
        """Return figures on validation before and after, JSON-ready."""
        rarest = self.imbalance.rarest()
        held_out = np.isin(labels, rarest)
        sides = {"before": before, "after": after}
        return {
            "rarest": {
                "classes": {self.classes[n]: self.imbalance.counts[n] for n in rarest},
                "val": int(held_out.sum()),
                "recall": {
                    side: balanced_accuracy(scores[held_out], labels[held_out])
                    for side, scores in sides.items()
                },
            },
            "balanced_accuracy": {
                side: balanced_accuracy(scores, labels) for side, scores in sides.items()
            },
            "accuracy": {
                side: float((scores.argmax(axis=1) == labels).mean())
                for side, scores in sides.items()
            },
        }


def find_remedy(facts: Facts, setting: str) -> Remedy | None:
    """Return what to do about the classes' sizes, or None where nothing is to be done.

    Args:
        facts: of the training part.
        setting: "auto" or "off".
    """
    imbalance = Imbalance(facts.class_counts)
    if setting == "off" or facts.task != "single-label" or not imbalance.strong:
        return None
    return Remedy(imbalance, facts.classes)


def say_imbalance(facts: Facts, setting: str, progress: Progress) -> None:
    """Tell what was found about the classes' sizes and what will be done, if it matters."""
    imbalance = Imbalance(facts.class_counts)
    if not imbalance.strong:
        return
    if find_remedy(facts, setting) is not None:
        plan = "every class is to count alike"
    elif setting == "off":
        plan = "left as it is, as asked for"
    else:
        plan = f"left as it is: nothing is done about it for {facts.task} data"
    progress.say(
        f"Uneven classes: the largest has {imbalance.ratio:.0f} times the pictures of the smallest",
        effective_classes=f"{imbalance.effective_classes:.1f} of {len(imbalance.counts)}",
        plan=plan,
    )


def balances(training: Training) -> bool:
    """Whether the chosen loss or sampler favours rare classes."""
    chosen = [(LOSSES, training.loss), (SAMPLERS, training.sampler)]
    return any(kind.load(item.name).balances for kind, item in chosen if item is not None)


def balanced_accuracy(scores: Scores, labels: Labels) -> float:
    """Return the mean recall of the classes that occur; 0 without any.

    Example:
        >>> balanced_accuracy(np.eye(2, dtype=np.float32)[[0, 0, 0]], np.array([0, 0, 1]))
        0.5
    """
    counts = np.bincount(labels, minlength=scores.shape[1])
    right = np.bincount(labels[scores.argmax(axis=1) == labels], minlength=scores.shape[1])
    present = counts > 0
    return float((right[present] / counts[present]).mean()) if present.any() else 0.0
