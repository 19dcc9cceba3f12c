"""Takes the training shares of the classes out of a model's scores, after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import WeightLicence
from clearsight.core.nouns import ImagesNHWC, Scores
from clearsight.learn.family import Fitted
from clearsight.learn.features import subsample

DOUBT = 0.5
"""Standard deviation of the prior's strength around what theory expects of it."""
STRENGTHS = (-1.0, 3.0)
COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of the temperature, as in `core.calibration`."""
MOST_SCORES = 4_000_000
"""Scores (pictures times classes) looked at; more add time and little else."""
OFFSETS, PLAIN = "adjustment.offsets", "logits.before_adjustment"

Labels = NDArray[np.int64]


def fit_prior_strength(
    logits: Scores, labels: Labels, log_prior: NDArray[np.float64], expected: float
) -> tuple[float, float]:
    """Return (temperature T, strength b) so that softmax(z / T - b log prior) suits even classes.

    Least log-loss on held-out pictures in which every class weighs the same, however few pictures
    it has; convex in (1/T, b). Rare classes have few, so b is drawn to what theory expects as by a
    normal prior of deviation 0.5, which counts less the more pictures there are.

    Args:
        logits: (n, classes).
        labels: (n,) int64; classes that do not occur are left out.
        log_prior: (classes,) log of the shares in training.
        expected: 1 for a model that learnt probabilities under these shares, 0 for one that
            learnt them as if classes were even.

    Returns:
        T in [0.05, 20] and b in [-1, 3].

    Source:
        Menon et al., Long-Tail Learning via Logit Adjustment (2021), section 4.1, with b for tau;
        Platt 1999, "Probabilistic Outputs for Support Vector Machines", section 2.2 (targets).

    Example:
        >>> shares = np.array([0.9, 0.1])
        >>> told = np.log(np.tile(shares, (200, 1))).astype(np.float32)  # knows the shares alone
        >>> labels = np.repeat([0, 1], [180, 20])
        >>> temperature, strength = fit_prior_strength(told, labels, np.log(shares), 1.0)
        >>> round(temperature * strength, 2)  # all of them is taken out
        1.0
    """
    from scipy.optimize import minimize

    rows = subsample(labels, max(2000, MOST_SCORES // logits.shape[1]), seed=0)
    scores, truth = logits[rows].astype(np.float64), labels[rows]
    counts = np.bincount(truth, minlength=logits.shape[1])
    weights = 1.0 / (counts[truth] * np.count_nonzero(counts))
    pictures = 1.0 / float((weights**2).sum())  # as many even ones would be as sure
    smoothing = 1.0 / (pictures + 2)
    target = np.full(scores.shape, smoothing / scores.shape[1])
    target[np.arange(len(truth)), truth] += 1 - smoothing

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        inverse, strength = parameters
        powers = _log_softmax(inverse * scores - strength * log_prior)
        apart = weights[:, None] * (np.exp(powers) - target)
        doubt = (strength - expected) / DOUBT
        value = -float((weights * (target * powers).sum(axis=1)).sum())
        slopes = np.array([(apart * scores).sum(), -(apart @ log_prior).sum()])
        slopes[1] += doubt / DOUBT / pictures
        return value + doubt**2 / 2 / pictures, slopes

    bounds = [(1 / HOTTEST, 1 / COLDEST), STRENGTHS]
    found = minimize(loss, [1.0, expected], jac=True, method="L-BFGS-B", bounds=bounds)
    return 1.0 / float(found.x[0]), float(found.x[1])


@dataclass(frozen=True)
class Adjusted:
    """A fitted model with a number added to each class's score.

    Args:
        fitted: the model.
        offsets: (classes,) float32.
        told: added to its story.
    """

    fitted: Fitted
    offsets: NDArray[np.float32]
    told: Mapping[str, Any]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the ONNX outputs."""
        return self.fitted.outputs

    @property
    def steps(self) -> bool:
        """Whether scores change in steps."""
        return self.fitted.steps

    @property
    def licences(self) -> tuple[WeightLicence, ...]:
        """Where pre-trained weights came from."""
        return self.fitted.licences

    @property
    def story(self) -> dict[str, Any]:
        """Facts of the training and of the adjustment."""
        return {**self.fitted.story, **self.told}

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return (n, classes) float32 scores, adjusted."""
        return self.fitted.logits(images_nhwc) + self.offsets

    def onnx_model(self) -> bytes:
        """Return the model with the offsets added to "logits"."""
        model = self.fitted.onnx_model()
        return with_offsets(model, self.offsets) if self.offsets.any() else model

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the model's arrays and the offsets."""
        return {**self.fitted.weights(), OFFSETS: self.offsets}


def with_offsets(model: bytes, offsets: NDArray[np.float32]) -> bytes:
    """Return an ONNX model whose "logits" are what they were plus a number per class.

    Args:
        model: has the output "logits" (n, classes) float32.
        offsets: (classes,) float32.
    """
    from onnx import checker, helper, load_from_string, numpy_helper

    from clearsight.learn.onnx_graph import LOGITS

    changed = load_from_string(model)
    graph = changed.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == LOGITS:
                    names[place] = PLAIN
    constant = np.ascontiguousarray(offsets, dtype=np.float32)
    graph.initializer.append(numpy_helper.from_array(constant, OFFSETS))
    graph.node.append(helper.make_node("Add", [PLAIN, OFFSETS], [LOGITS], name="adjustment"))
    checker.check_model(changed, full_check=True)
    content: bytes = changed.SerializeToString()
    return content


def _log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = scores - scores.max(axis=1, keepdims=True)
    powers: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return powers
