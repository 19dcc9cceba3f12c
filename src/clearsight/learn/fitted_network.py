"""A trained torch network as a `Fitted` recognizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from clearsight.core.bundle import WeightLicence
from clearsight.core.nouns import ImagesNHWC, Preprocessing, Scores
from clearsight.learn.export import export_onnx
from clearsight.learn.trainers.gradient import score_network


@dataclass(frozen=True)
class FittedNetwork:
    """What `fit` of a torch family returns.

    Args:
        network: takes float32 (n, c, h, w) pixels in [0, 255] and returns logits.
        preprocessing: of the pictures it was trained on.
        story: JSON-ready facts of the training.
        outputs: ONNX outputs, "logits" first; more need `network.outputs`.
        licences: of pre-trained weights.
    """

    network: nn.Module
    preprocessing: Preprocessing
    story: dict[str, Any]
    outputs: tuple[str, ...] = ("logits",)
    licences: tuple[WeightLicence, ...] = ()
    steps: ClassVar[bool] = False

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return (n, classes) float32 scores of uint8 (n, h, w, c) pictures."""
        return score_network(self.network, images_nhwc)

    def onnx_model(self) -> bytes:
        """Return the ONNX file; see `export_onnx`."""
        return export_onnx(self.network, self.preprocessing, self.outputs)

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Return every parameter and buffer by name."""
        state = self.network.state_dict()
        return {k: np.ascontiguousarray(v.detach().cpu().numpy()) for k, v in state.items()}
