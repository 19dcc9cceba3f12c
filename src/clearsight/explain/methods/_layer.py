"""What the methods that weight a layer's maps share."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import UsageError
from clearsight.core.nouns import Gradient, ImagesNHWC
from clearsight.explain.explainer import Maps
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject

Floats = NDArray[np.float32]


def layer_gradient(
    subject: Subject, images_nhwc: ImagesNHWC, question: Question, depth: int = 0
) -> Gradient:
    """Return a layer's maps and the gradients of what is asked.

    Args:
        subject: the recognizer.
        images_nhwc: (n, h, w, c) uint8.
        question: what is asked.
        depth: 0 for the deepest layer that keeps a map.

    Raises:
        UsageError: no gradients, or no layer that keeps a map.
    """
    live = subject.live
    if not live.layers:
        other = "attention-rollout" if live.attentions(_one(images_nhwc)) else "occlusion or rise"
        raise UsageError(
            f"No layer of this recognizer keeps a map of the picture. Use --method {other}."
        )
    layer = live.layers[min(depth, len(live.layers) - 1)]
    wanted = question.weights(len(live.classes))
    return live.gradient(images_nhwc.astype(np.float32), lambda _: wanted, layer)


def enlarged(maps: Floats, images_nhwc: ImagesNHWC) -> Maps:
    """Return (n, h', w') maps as large as the pictures, bilinear."""
    height, width = images_nhwc.shape[1:3]
    rows = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in maps]
    return np.stack(rows).astype(np.float32)


def _one(images_nhwc: ImagesNHWC) -> Floats:
    return images_nhwc[:1].astype(np.float32)
