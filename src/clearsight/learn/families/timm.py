"""Any timm model by name, fine-tuned where weights can be had, else trained from scratch."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError
from clearsight.core.nouns import TASKS, Preprocessing
from clearsight.core.seeds import derive_seed
from clearsight.learn.backbones import (
    Weights,
    build,
    find_weights,
    packaged_names,
    weights_expected,
)
from clearsight.learn.backbones import check_name as check_name
from clearsight.learn.family import Capabilities, Facts, Job
from clearsight.learn.fine_tuning import start_head, train_all, train_last
from clearsight.learn.fine_tuning_stages import choose_stage
from clearsight.learn.fitted_network import FittedNetwork
from clearsight.learn.label_preserving import TrainingPictures, Verdict
from clearsight.learn.networks.low_rank import add_adapters, check_adaptable, merge_adapters
from clearsight.learn.networks.timm_network import TimmNetwork
from clearsight.learn.networks.timm_sides import STEP, check_side, cost, create, next_side, own_side
from clearsight.learn.trainers.gradient import train_network
from clearsight.learn.trainers.recipe import Recipe
from clearsight.learn.training import Choice

SMALL_SIDE = 64
"""Pictures up to this side are enlarged to twice their side at most by a model without weights."""
PASSES = 2
"""The side is the largest at which so many passes fit the time."""
TRAINING_RATE = 1e10
"""Multiplications a second on one core while training; well below what was measured on resnet18
and above it on networks of depthwise convolutions (backward counts as two forward passes)."""
FINE_TUNING_LR, ADAPTERS_LR, SCRATCH_LR = 3e-4, 3e-3, 2e-3
LAYER_DECAY = 0.7
"""Learning rate of a pre-trained layer, in parts of the next one's above it."""
SMALLEST_PART = 0.5
"""Of a picture's area that training crops keep when a pre-trained model is tuned."""
SCRATCH_MEAN, SCRATCH_STD = (127.5,) * 3, (64.0,) * 3
SAME = 1e-4
WRITING_RATE = 1e8
"""Bytes of weights a second that are exported, checked in two engines and written, about."""


class Adapters(Config):
    """Low-rank adapters beside the attention layers of a transformer.

    Args:
        rank: of the change to each layer.
        alpha: strength of the change; None takes twice the rank.
    """

    rank: int = Field(default=8, ge=1, le=256)
    alpha: float | None = Field(default=None, gt=0)


class TimmConfig(Config):
    """Which model and which of its layers learn; how is `settings.training`.

    Args:
        name: a timm model name.
        pretrained: "auto" takes weights where they can be had and says so; "yes" insists.
        side: of the square input in pixels; None takes the model's own (without weights: twice
            the picture's side for small pictures), or less where the time is short.
        layers: which pre-trained layers learn after the head: "all" of them, "most" (all but the
            lowest, which are slow and adapt little), the "last" ones on maps that are computed
            once, none ("head"), or as many as the time allows ("auto").
        adapters: only these and the head learn.
        max_epochs: most passes under a time budget.
    """

    name: str = "tf_efficientnet_lite0"
    pretrained: Literal["auto", "yes", "no"] = "auto"
    side: int | None = Field(default=None, ge=16, le=1024)
    layers: Literal["auto", "head", "last", "most", "all"] = "auto"
    adapters: Adapters | None = None
    max_epochs: int = Field(default=30, ge=1)


class Timm:
    """Trains a timm model with AdamW and one cycle; pre-trained ones in stages, the head first.

    Raises:
        UnknownKeyError: timm has no model of this name.
        ConfigError: the model cannot take the side, or has no place for adapters.
    """

    Config: ClassVar[type[Config]] = TimmConfig
    capabilities: ClassVar[Capabilities] = Capabilities(
        gradients=True, pretrained=True, features=True, tasks=TASKS
    )

    def __init__(self, config: TimmConfig) -> None:
        self.config = config
        check_name(config.name)
        if config.side is not None:
            check_side(config.name, config.side)
        if config.adapters is not None:
            if config.layers != "auto":
                raise ConfigError(
                    f"family.layers={config.layers} does not go with family.adapters: of the "
                    "model's layers only the adapters learn. Leave one of them out."
                )
            check_adaptable(create(config.name, None, 0, "meta"), config.name)

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return a square colour input that the model can take and the time allows."""
        side = self.config.side or self._side(facts)
        return Preprocessing(height=side, width=side, channels=3)

    def fit(self, job: Job) -> FittedNetwork:
        """Train within the budget; see `train_network` and `fine_tuning`."""
        weights = self._weights(job)
        seed, side = derive_seed(job.seed, "weights"), job.preprocessing.height
        model = build(self.config.name, weights, len(job.classes), seed, side)
        mean, std = (weights.mean, weights.std) if weights else (SCRATCH_MEAN, SCRATCH_STD)
        network = TimmNetwork(model, mean, std, frozen_norms=weights is not None)
        job = _earlier(job, network)
        verdict = TrainingPictures.of(job).keeps_labels.left_right
        if job.training.augment is None:
            mirroring = "on" if verdict.allowed else "off"
            job.progress.say(f"Mirroring is {mirroring}", reason=verdict.reason)
        story = self._trained(network, job, weights, verdict)
        story |= {
            "model": self.config.name,
            "weights": weights.origin if weights else "from scratch",
            "side": side,
            "mirror": {"on": verdict.allowed, "reason": verdict.reason},
        }
        licences = (weights.licence,) if weights else ()
        outputs = _outputs(network, job.train_images[:2])
        return FittedNetwork(network, job.preprocessing, story, outputs, licences)

    def _trained(
        self, network: TimmNetwork, job: Job, weights: Weights | None, verdict: Verdict
    ) -> dict[str, Any]:
        recipe = self._recipe(job, weights, verdict.allowed)
        if self.config.adapters is not None:
            return self._adapted(network, job, weights, recipe)
        if weights is None:
            return _counted(network) | train_network(network, job, recipe)
        return _counted(network) | self._staged(network, job, recipe)

    def _staged(self, network: TimmNetwork, job: Job, recipe: Recipe) -> dict[str, Any]:
        """Fit the head, then train as many layers as were asked for or the time allows.

        Hardening needs all of them: maps of lower layers that are computed once are of plain
        pictures, and a blend with the first weights is chosen by plain pictures alone.
        """
        if job.harden is not None and self.config.layers not in ("auto", "all"):
            raise ConfigError(
                f"family.layers={self.config.layers} does not go with harden={job.harden.name}: "
                "all layers learn on harder pictures. Leave family.layers out."
            )
        head = start_head(network, job)
        if job.harden is not None:
            return {"layers": "all", **train_network(network, job, recipe)}
        stage = choose_stage(network, job, self.config.layers, head, recipe)
        job.progress.say(f"Layers that learn: {stage.layers}", reason=stage.reason)
        told: dict[str, Any] = {"layers": stage.layers, "layers_reason": stage.reason}
        if head is not None:
            told |= {"head_accuracy": head.accuracy}
        if stage.layers == "last":
            return told | train_last(network, job, stage, recipe)
        if stage.layers in ("most", "all") or head is None:
            return told | train_all(network, job, recipe, stage.cut)
        network.eval()
        return told | {"epochs": 1.0}

    def _adapted(
        self, network: TimmNetwork, job: Job, weights: Weights | None, recipe: Recipe
    ) -> dict[str, Any]:
        """Train adapters and the head; merge the adapters into the weights."""
        assert self.config.adapters is not None
        if weights is None:
            job.progress.say("Adapters stand beside random weights: expect little of them")
        else:
            start_head(network, job)
        rank, alpha = self.config.adapters.rank, self.config.adapters.alpha
        add_adapters(network.model, rank, alpha or 2.0 * rank, derive_seed(job.seed, "adapters"))
        network.model.get_classifier().requires_grad_(True)
        counted = _counted(network)
        story = train_network(network, job, recipe)
        merge_adapters(network.model)
        return counted | {"adapters": {"rank": rank, "alpha": alpha or 2.0 * rank}} | story

    def _side(self, facts: Facts) -> int:
        """The largest side at which the time allows some passes, down to half of the wanted.

        A pre-trained model wants its own side, however small the pictures: its features are of
        things that large.
        """
        name, longer = self.config.name, max(facts.height, facts.width)
        own = own_side(name)
        tuned = self.config.pretrained != "no" and weights_expected(name)
        wanted, least = own, next_side(name, own // 2)
        if longer <= SMALL_SIDE and not tuned:
            wanted, least = next_side(name, 2 * longer), next_side(name, longer)
        side = wanted
        while side > least and self._passes(facts, side) < PASSES:
            smaller = next_side(name, round(0.7 * side) - STEP // 2)
            side = max(least, smaller) if smaller < side else least
        return side

    def _passes(self, facts: Facts, side: int) -> float:
        """About how many passes the time allows."""
        if facts.time_s is None:
            return float("inf")
        picture = 3e6 * (cost(self.config.name, side) or 1.0)
        rate = TRAINING_RATE * (os.cpu_count() or 1)
        return facts.time_s * rate / (picture * max(1, facts.n_train))

    def _weights(self, job: Job) -> Weights | None:
        if self.config.pretrained == "no":
            found = None
        else:
            found = find_weights(self.config.name, job.progress)
        if found is None and self.config.pretrained == "yes":
            raise ConfigError(
                f"No pre-trained weights of {self.config.name!r} can be had here. Use "
                "--set family.pretrained=auto to train from scratch instead."
            )
        if found is None and self.config.layers != "auto":
            raise ConfigError(
                f"family.layers={self.config.layers} needs pre-trained weights, and of "
                f"{self.config.name!r} there are none here. Leave family.layers out to train all "
                "layers from scratch, or choose a model with packaged weights: "
                f"{', '.join(packaged_names())}."
            )
        if found is None:
            job.progress.say(f"{self.config.name} is trained from scratch")
        return found

    def _recipe(self, job: Job, weights: Weights | None, mirror: bool) -> Recipe:
        lr = FINE_TUNING_LR if weights else SCRATCH_LR
        if self.config.adapters is not None:
            lr = ADAPTERS_LR
        decay = LAYER_DECAY if weights and self.config.adapters is None else 1.0

        def groups(network: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
            return _groups(network, lr, weight_decay, decay)

        return Recipe(
            lr=lr,
            optimizer="adamw",
            weight_decay=0.02,
            loss=Choice.of("cross-entropy", smoothing=0.1),
            batch_size=32,
            augment=_changes(job, weights is not None, mirror),
            max_epochs=self.config.max_epochs,
            groups=groups,
        )


def _changes(job: Job, pretrained: bool, mirror: bool) -> list[Choice]:
    """A pre-trained model has seen parts of all sizes, and knows few pictures by heart at once."""
    if not pretrained:
        shift = max(1, job.preprocessing.width // 16)
        return [Choice.of("shift-flip", shift=shift, mirror=mirror)]
    crop = Choice.of("crop", smallest_area_share=SMALLEST_PART)
    return [crop, Choice.of("flip")] if mirror else [crop]


def _groups(
    network: nn.Module, lr: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Part what learns by depth; each layer's rate is `layer_decay` times that of the next one.

    Source:
        Howard, Ruder, Universal Language Model Fine-tuning (2018), section 3.2 (discriminative
        fine-tuning).
    """
    depths = _depths(network.model) if layer_decay < 1 else {}
    parts: dict[tuple[int, bool], list[Tensor]] = {}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            depth = depths.get(name.removeprefix("model."), 0)
            parts.setdefault((depth, weight.ndim > 1), []).append(weight)
    return [
        {
            "params": weights,
            "lr": lr * layer_decay**depth,
            "weight_decay": weight_decay if matrix else 0.0,
        }
        for (depth, matrix), weights in parts.items()
    ]


def _depths(model: Any) -> dict[str, int]:
    """Return how many layers (timm's coarse groups) are above each parameter's."""
    from timm.models import group_parameters

    if not hasattr(model, "group_matcher"):
        return {}
    layers = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    numbers = sorted(set(layers.values()), reverse=True)
    return {name: numbers.index(layer) for name, layer in layers.items()}


def _earlier(job: Job, network: nn.Module) -> Job:
    """Keep back the time that writing so many weights takes."""
    numbers = sum(weight.numel() for weight in network.parameters())
    return replace(job, budget=job.budget.earlier(4 * numbers / WRITING_RATE))


def _counted(network: nn.Module) -> dict[str, int]:
    """Return how many numbers the network holds and how many of them learn."""
    parameters = list(network.parameters())
    return {
        "parameters": sum(weight.numel() for weight in parameters),
        "trained_parameters": sum(w.numel() for w in parameters if w.requires_grad),
    }


def _outputs(network: TimmNetwork, images: np.ndarray[Any, Any]) -> tuple[str, ...]:
    """Return the names of what this model can give beside logits without changing them."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        try:
            named = network.eval().outputs(pixels)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return ("logits",)
        plain = network(pixels)
    logits, embedding, features = named["logits"], named["embedding"], named["features"]
    if embedding.ndim != 2 or logits.shape != plain.shape or not isinstance(features, Tensor):
        return ("logits",)
    if float((plain - logits).abs().max()) > SAME * max(1.0, float(plain.abs().max())):
        return ("logits",)
    return ("logits", "embedding", "features") if features.ndim == 4 else ("logits", "embedding")
