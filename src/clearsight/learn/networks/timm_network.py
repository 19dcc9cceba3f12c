"""A timm model that takes pixels in [0, 255] and names what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

STAGES = 5
"""So many stages of a model are pooled at most, spread evenly over its depth."""


class TimmNetwork(nn.Module):
    """Normalisation in front of a timm model.

    Args:
        model: with its classifier, or with an identity in its place.
        mean, std: of one channel (or of all channels alike), in pixels of [0, 255].
        stages: the embedding goes on with the mean of every stage's feature map.
        frozen_norms: batch normalisation keeps its statistics while training; a small data set's
            own are noisier than those of the pictures the model was trained on.

    Source:
        Pooled stages beside the last features: Evci et al., Head2Toe (2022).
    """

    def __init__(
        self,
        model: Any,
        mean: Sequence[float],
        std: Sequence[float],
        stages: bool = False,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.stages, self.frozen_norms = stages, frozen_norms
        self.mean = nn.Buffer(torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.std = nn.Buffer(torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))

    def train(self, mode: bool = True) -> TimmNetwork:
        """Go to training mode, batch normalisation only if it is not frozen."""
        super().train(mode)
        if self.frozen_norms:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (n, classes) of float32 (n, c, h, w) pixels."""
        logits: Tensor = self.model((pixels - self.mean) / self.std)
        return logits

    def outputs(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return "logits", "embedding" (n, d) and "features", the last feature map.

        With `stages` the first columns of the embedding are those without, and "logits" is left
        out: a head is fitted to the embedding.
        """
        inner = (pixels - self.mean) / self.std
        if not self.stages:
            features = self.model.forward_features(inner)
            embedding = self.model.forward_head(features, pre_logits=True)
            logits = self.model.get_classifier()(embedding)
            return {"logits": logits, "embedding": embedding, "features": features}
        features, maps = self.model.forward_intermediates(inner)
        chosen = [maps[round(at)] for at in torch.linspace(0, len(maps) - 1, STAGES).tolist()]
        pooled = [self.model.forward_head(features, pre_logits=True)]
        pooled += [stage.mean((2, 3)) for stage in dict.fromkeys(chosen)]
        return {"embedding": torch.cat(pooled, 1), "features": features}
