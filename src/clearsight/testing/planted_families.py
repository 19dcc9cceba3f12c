"""A small sound family, and spoilt copies of it that each break one clause of the contract."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import WeightLicence
from clearsight.core.config import Config
from clearsight.core.nouns import ImagesNHWC, Preprocessing, Scores
from clearsight.learn.family import Capabilities, Facts, Job
from clearsight.learn.onnx_graph import GraphBuilder


@dataclass(frozen=True)
class FittedMeans:
    """Scores are products with the classes' mean pictures; sound and simple."""

    means: NDArray[np.float32]
    size: Preprocessing
    outputs: tuple[str, ...] = ("logits",)
    licences: tuple[WeightLicence, ...] = ()
    steps: bool = False
    story: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0  # of the exported scores; 1 is right

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return centred products with every mean."""
        flat = images_nhwc.reshape(len(images_nhwc), -1).astype(np.float32)
        flat -= flat.mean(1, keepdims=True)
        scores: Scores = (flat @ self.means.T).astype(np.float32)
        return scores

    def onnx_model(self) -> bytes:
        """Return the same as a graph."""
        graph = GraphBuilder()
        pixels = graph.add("Cast", "images", to=1)
        flat = graph.add("Flatten", pixels)
        centred = graph.add("Sub", flat, graph.add("ReduceMean", flat, axes=[1], keepdims=1))
        graph.add("MatMul", centred, graph.constant(self.means.T * self.scale), output="logits")
        size = self.size
        shape = {"logits": [len(self.means)]}
        return graph.build(size.height, size.width, size.channels, shape)

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the means."""
        return {"means": self.means}


class Means:
    """The sound family: nearest mean picture."""

    class Config(Config):
        """No options."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self, config: Any) -> None:
        self.config = config

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return the pictures' size within bounds."""
        height, width = (min(max(size, 4), 64) for size in (facts.height, facts.width))
        return Preprocessing(height=height, width=width, channels=1 if facts.grey else 3)

    def fit(self, job: Job) -> Any:
        """Average each class."""
        flat = job.train_images.reshape(len(job.train_images), -1).astype(np.float32)
        flat -= flat.mean(1, keepdims=True)
        means = np.stack([flat[job.train_labels == k].mean(0) for k in range(len(job.classes))])
        means /= np.linalg.norm(means, axis=1, keepdims=True) * 100
        return FittedMeans(means.astype(np.float32), job.preprocessing)


def planted_families() -> dict[str, Any]:
    """Return, for every clause of the family contract, a family that must fail it."""
    return {
        "check_builds_from_defaults": _Forgetful,
        "check_config_round_trips": _LaxConfig,
        "check_preprocessing_fits_any_facts": _Boundless,
        "check_overfits_one_batch": _Constant,
        "check_learns_toy_set": _Constant,
        "check_same_seed_same_weights": _Moody,
        "check_exported_scores": _WrongExport,
        "check_features_claim": _ClaimsFeatures,
        "check_pretrained_claim": _ClaimsPretrained,
        "check_gradients_claim": _ClaimsGradients,
        "check_keeps_its_deadline": _Late,
        "check_leaves_its_input_alone": _Scribbler,
    }


class _Forgetful(Means):
    def __init__(self, config: Any) -> None:
        self.config = None


class _LaxConfig(Means):
    class Config(Config):
        model_config: ClassVar[Any] = {"extra": "ignore"}


class _Boundless(Means):
    def preprocessing(self, facts: Facts) -> Preprocessing:
        return Preprocessing(height=facts.height, width=facts.width)


class _Constant(Means):
    def fit(self, job: Job) -> Any:
        fitted = super().fit(job)
        return replace(fitted, means=fitted.means * 0)


class _Moody(Means):
    _calls = itertools.count(1)

    def fit(self, job: Job) -> Any:
        fitted = super().fit(job)
        return replace(fitted, means=fitted.means * (1 + next(self._calls) / 1e3))


class _WrongExport(Means):
    def fit(self, job: Job) -> Any:
        return replace(super().fit(job), scale=-1.0)


class _ClaimsFeatures(Means):
    capabilities = Capabilities(features=True)


class _ClaimsPretrained(Means):
    capabilities = Capabilities(pretrained=True)


class _ClaimsGradients(Means):
    capabilities = Capabilities(gradients=True)


class _Late(Means):
    def fit(self, job: Job) -> Any:
        time.sleep(max(0.0, job.budget.remaining_s()) + 4.5)
        return super().fit(job)


class _Scribbler(Means):
    def fit(self, job: Job) -> Any:
        job.train_images[0] = 0
        return super().fit(job)
