"""Any timm model by name, fine-tuned where weights can be had, else trained from scratch."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError
from clearsight.core.nouns import Preprocessing
from clearsight.core.seeds import derive_seed
from clearsight.learn.backbones import Weights, build, find_weights
from clearsight.learn.backbones import check_name as check_name
from clearsight.learn.family import Capabilities, Facts, Job
from clearsight.learn.fitted_network import FittedNetwork
from clearsight.learn.mirroring import mirroring_keeps_labels
from clearsight.learn.networks.timm_network import TimmNetwork
from clearsight.learn.networks.timm_sides import own_side
from clearsight.learn.trainers.gradient import Recipe, train_network
from clearsight.learn.training import Choice

SMALL_SIDE = 64
"""Pictures up to this side are enlarged to twice their side, not to the model's own."""
SMALLEST_INPUT, STRIDE = 64, 32
FINE_TUNING_LR, SCRATCH_LR = 1e-3, 2e-3
BACKBONE_SHARE = 0.3
"""Learning rate of pre-trained layers, in parts of the new classifier's."""
SCRATCH_MEAN, SCRATCH_STD = (127.5,) * 3, (64.0,) * 3
SAME = 1e-4


class TimmConfig(Config):
    """Which model and how it is trained.

    Args:
        name: a timm model name.
        pretrained: "auto" takes weights where they can be had and says so; "yes" insists.
        side: of the square input in pixels; None takes the model's own, or twice the picture's
            side for small pictures.
        lr: peak learning rate; None takes 0.001 for fine-tuning and 0.002 from scratch.
        weight_decay: of matrices and kernels.
        smoothing: label smoothing.
        batch_size: pictures a step.
        max_epochs: most passes under a time budget.
    """

    name: str = "tf_efficientnet_lite0"
    pretrained: Literal["auto", "yes", "no"] = "auto"
    side: int | None = Field(default=None, ge=32, le=1024)
    lr: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    smoothing: float = Field(default=0.1, ge=0, lt=1)
    batch_size: int = Field(default=32, ge=2)
    max_epochs: int = Field(default=30, ge=1)


class Timm:
    """Trains a timm model with AdamW and one cycle.

    Raises:
        UnknownKeyError: timm has no model of this name.
    """

    Config: ClassVar[type[Config]] = TimmConfig
    capabilities: ClassVar[Capabilities] = Capabilities(
        gradients=True, pretrained=True, features=True
    )

    def __init__(self, config: TimmConfig) -> None:
        self.config = config
        check_name(config.name)

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return a square colour input; small pictures are not blown up to the model's own size."""
        side = self.config.side or self._side(max(facts.height, facts.width))
        return Preprocessing(height=side, width=side, channels=3)

    def fit(self, job: Job) -> FittedNetwork:
        """Train within the budget; see `train_network`."""
        weights = self._weights(job)
        seed = derive_seed(job.seed, "weights")
        model = build(self.config.name, weights, len(job.classes), seed)
        mean, std = (weights.mean, weights.std) if weights else (SCRATCH_MEAN, SCRATCH_STD)
        network = TimmNetwork(model, mean, std)
        verdict = mirroring_keeps_labels(job.train_images, job.train_labels, job.classes, job.seed)
        job.progress.say(f"Mirroring is {'on' if verdict.mirror else 'off'}", reason=verdict.reason)
        story = train_network(network, job, self._recipe(job, weights, verdict.mirror))
        story |= {
            "model": self.config.name,
            "weights": weights.origin if weights else "from scratch",
            "mirror": {"on": verdict.mirror, "reason": verdict.reason},
        }
        licences = (weights.licence,) if weights else ()
        outputs = _outputs(network, job.train_images[:2])
        return FittedNetwork(network, job.preprocessing, story, outputs, licences)

    def _side(self, longer: int) -> int:
        own = own_side(self.config.name)
        if longer > SMALL_SIDE:
            return own
        return min(own, max(SMALLEST_INPUT, STRIDE * -(-2 * longer // STRIDE)))

    def _weights(self, job: Job) -> Weights | None:
        if self.config.pretrained == "no":
            return None
        found = find_weights(self.config.name, job.progress)
        if found is None and self.config.pretrained == "yes":
            raise ConfigError(
                f"No pre-trained weights of {self.config.name!r} can be had here. Use "
                "--set family.pretrained=auto to train from scratch instead."
            )
        if found is None:
            job.progress.say(f"{self.config.name} is trained from scratch")
        return found

    def _recipe(self, job: Job, weights: Weights | None, mirror: bool) -> Recipe:
        peak = self.config.lr or (FINE_TUNING_LR if weights else SCRATCH_LR)
        shift = max(1, job.preprocessing.width // 16)
        share = BACKBONE_SHARE if weights else 1.0

        def groups(network: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
            return _groups(network, lr, share, weight_decay)

        return Recipe(
            lr=peak,
            optimizer="adamw",
            weight_decay=self.config.weight_decay,
            loss=Choice.of("cross-entropy", smoothing=self.config.smoothing),
            batch_size=self.config.batch_size,
            augment=[Choice.of("shift-flip", shift=shift, mirror=mirror)],
            max_epochs=self.config.max_epochs,
            groups=groups,
        )


def _groups(
    network: nn.Module, lr: float, backbone_share: float, decay: float
) -> list[dict[str, Any]]:
    """Part parameters into backbone and classifier, with and without weight decay."""
    classifier = {id(weight) for weight in network.model.get_classifier().parameters()}  # type: ignore[union-attr,operator]
    parts: dict[tuple[bool, bool], list[Tensor]] = {}
    for weight in network.parameters():
        parts.setdefault((id(weight) in classifier, weight.ndim > 1), []).append(weight)
    return [
        {
            "params": weights,
            "lr": lr if new else lr * backbone_share,
            "weight_decay": decay if matrix else 0.0,
        }
        for (new, matrix), weights in parts.items()
    ]


def _outputs(network: TimmNetwork, images: np.ndarray[Any, Any]) -> tuple[str, ...]:
    """Return the names of what this model can give beside logits without changing them."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        try:
            named = network.eval().outputs(pixels)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return ("logits",)
        plain = network(pixels)
    apart = float((plain - named["logits"]).abs().max()) if named["logits"].ndim == 2 else np.inf
    if not apart <= SAME * max(1.0, float(plain.abs().max())) or named["embedding"].ndim != 2:
        return ("logits",)
    return (
        ("logits", "embedding", "features")
        if named["features"].ndim == 4
        else (
            "logits",
            "embedding",
        )
    )
