"""A small smooth network in NumPy whose gradients are worked out by hand, to attack and explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import Cotangent, Gradient, PixelsNHWC, Preprocessing, Scores
from clearsight.core.seeds import generator

SIDE, HIDDEN, CLASSES = 8, 24, 12


class SoftNetwork:
    """Pixels, a tanh layer, a linear layer; a `core.nouns.Differentiable` without torch.

    Args:
        seed: of the weights.
        channels: 1 or 3.
        sharpness: how much a pixel matters.
    """

    task = "single-label"

    def __init__(self, seed: int = 0, channels: Literal[1, 3] = 1, sharpness: float = 0.6) -> None:
        random = generator(seed, "soft-network")
        self.preprocessing = Preprocessing(height=SIDE, width=SIDE, channels=channels)
        self.classes: Sequence[str] = tuple(f"class {number}" for number in range(CLASSES))
        self.into = random.normal(0, sharpness, (SIDE * SIDE * channels, HIDDEN))
        self.out = random.normal(0, 1, (HIDDEN, CLASSES))
        self.layers: tuple[str, ...] = ()
        self.gradient_calls = 0
        self._seed, self._channels, self._sharpness = seed, channels, sharpness

    def logits(self, pixels_nhwc: PixelsNHWC) -> Scores:
        """Return raw scores (n, classes)."""
        scores: Scores = (self._hidden(pixels_nhwc) @ self.out).astype(np.float32)
        return scores

    def gradient(
        self, pixels_nhwc: PixelsNHWC, of: Cotangent, layer: str | None = None
    ) -> Gradient:
        """Return the gradient with respect to the pixels."""
        self.gradient_calls += 1
        hidden = self._hidden(pixels_nhwc)
        logits: Scores = (hidden @ self.out).astype(np.float32)
        back = (of(logits) @ self.out.T) * (1 - hidden**2) @ self.into.T / 255
        slope = back.reshape(pixels_nhwc.shape).astype(np.float32)
        return Gradient(logits, pixels_nhwc, slope)

    def attentions(self, pixels_nhwc: PixelsNHWC) -> tuple[NDArray[np.float32], ...]:
        """Return nothing: it is no transformer."""
        return ()

    def randomized(self, seed: int) -> SoftNetwork:
        """Return one with other weights."""
        return SoftNetwork(self._seed + seed + 1, self._channels, self._sharpness)

    def _hidden(self, pixels: PixelsNHWC) -> NDArray[np.float64]:
        flat = pixels.reshape(len(pixels), -1).astype(np.float64) / 255 - 0.5
        return np.tanh(flat @ self.into)
