"""A timm model that takes pixels in [0, 255] and names what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class TimmNetwork(nn.Module):
    """Normalisation in front of a timm model.

    Args:
        model: with its classifier, or with an identity in its place.
        mean, std: of one channel (or of all channels alike), in pixels of [0, 255].
    """

    def __init__(self, model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.mean = nn.Buffer(torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.std = nn.Buffer(torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (n, classes) of float32 (n, c, h, w) pixels."""
        logits: Tensor = self.model((pixels - self.mean) / self.std)
        return logits

    def outputs(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return "logits", "embedding" (n, d) and "features", the last feature map."""
        features = self.model.forward_features((pixels - self.mean) / self.std)
        embedding = self.model.forward_head(features, pre_logits=True)
        logits = self.model.get_classifier()(embedding)
        return {"logits": logits, "embedding": embedding, "features": features}
