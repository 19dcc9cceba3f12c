"""Golden pictures: a few real inputs and the scores the model as trained gives them."""

from __future__ import annotations

import json

import cv2
import numpy as np

from clearsight.core.bundle import GOLDEN, GOLDEN_SCORES
from clearsight.core.nouns import ImageHWC, ImagesNHWC, Scores


def golden_files(images_nhwc: ImagesNHWC, logits: Scores) -> dict[str, bytes]:
    """Return the files of a Bundle's golden/ folder.

    Args:
        images_nhwc: (n, h, w, 1 or 3) uint8, prepared pictures.
        logits: (n, classes) float32, what the model as trained gives for them.

    Returns:
        Content by path: one lossless PNG a picture, and scores.json.
    """
    names = [f"{GOLDEN}/{number}.png" for number in range(len(images_nhwc))]
    files = {name: _png(image) for name, image in zip(names, images_nhwc, strict=True)}
    scores = {"images": names, "logits": np.asarray(logits, dtype=np.float32).tolist()}
    return {**files, GOLDEN_SCORES: json.dumps(scores, allow_nan=False).encode("utf-8")}


def _png(image: ImageHWC) -> bytes:
    ordered = image[:, :, ::-1] if image.shape[2] == 3 else image  # cv2 writes BGR
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(ordered))
    return encoded.tobytes()
