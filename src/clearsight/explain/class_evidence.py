"""Finds, without torch, how a network's last feature map becomes its scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import WEIGHTS, Bundle
from clearsight.core.errors import BundleError
from clearsight.core.nouns import ImagesNHWC
from clearsight.engines.golden import golden_pictures
from clearsight.engines.predictor import BundlePredictor
from clearsight.explain.question import Question

ClassEvidence = Callable[[ImagesNHWC, Question], NDArray[np.float32]]
"""Pictures and questions -> class activation maps (n, h', w') float32 of the last feature map."""

Floats = NDArray[np.float32]
SAME = 1e-3
OUTPUTS = ("logits", "embedding", "features")
HEADER_BYTES = 100 * 1024 * 1024
TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


@dataclass(frozen=True)
class LinearHead:
    """How a last feature map becomes scores: its channels' means or largest values, weighted.

    Args:
        matrix: (channels, classes) float32; more channels than the map's are left out.
        mirrored: the network looks at the mirrored picture too.
    """

    matrix: Floats
    mirrored: bool

    def evidence(self, predictor: BundlePredictor) -> ClassEvidence:
        """Return class activation maps of an opened Bundle."""

        def found(images: ImagesNHWC, question: Question) -> Floats:
            weights = question.weights(len(predictor.classes)) @ self.matrix.T
            maps = _weighted(predictor, images, weights)
            if self.mirrored:
                other = _weighted(predictor, images[:, :, ::-1], weights)[:, :, ::-1]
                maps = ((maps + other) / 2).astype(np.float32)
            return np.ascontiguousarray(maps, dtype=np.float32)

        return found


def linear_head(predictor: BundlePredictor) -> LinearHead | None:
    """Return how a Bundle's last feature map becomes its scores, or None where that is not linear.

    A candidate for the head is any matrix of the Bundle's weights of the right shape. It is
    accepted only when it explains how the scores of the golden pictures differ, from the mean or
    the largest value of every channel of the last feature map: found, checked, never guessed. Where
    the head looks at more than the last map (a probe on all stages), the last map's share is told.

    Args:
        predictor: the opened Bundle.

    Source:
        Learning Deep Features for Discriminative Localization: Zhou et al. (2016), section 2.
    """
    manifest = predictor.manifest
    if not set(OUTPUTS) <= set(manifest.outputs):
        return None
    try:
        images, _ = golden_pictures(predictor)
        plain = _Seen(predictor, images)
    except BundleError:
        return None
    if plain.features.ndim != 4 or min(plain.features.shape[2:]) < 2 or plain.pooled() is None:
        return None
    for mirrored in (False, True):
        other = _Seen(predictor, images[:, :, ::-1]) if mirrored else plain
        if other.pooled() is None:
            return None
        for matrix in _matrices(predictor.bundle, len(manifest.classes), plain.width):
            embedding: Floats = ((plain.embedding + other.embedding) / 2).astype(np.float32)
            if _explains(embedding @ matrix[: embedding.shape[1]], plain.logits, matrix, embedding):
                return LinearHead(matrix[: plain.channels], mirrored)
    return None


class _Seen:
    """What the network gives for some pictures."""

    def __init__(self, predictor: BundlePredictor, images: ImagesNHWC) -> None:
        found = predictor.outputs(np.ascontiguousarray(images), OUTPUTS)
        self.logits, self.features = found["logits"], found["features"]
        self.embedding = found["embedding"].reshape(len(images), -1)
        self.channels = self.features.shape[1]
        self.width = self.embedding.shape[1]

    def pooled(self) -> Floats | None:
        """Return the pooled map where the embedding begins with it, else None."""
        own = self.embedding[:, : self.channels]
        for pool in (self.features.mean(axis=(2, 3)), self.features.max(axis=(2, 3))):
            if own.shape == pool.shape and _close(own, pool):
                return own
        return None


def _weighted(predictor: BundlePredictor, images: ImagesNHWC, weights: Floats) -> Floats:
    # the outputs that the head was found with: another choice would be compiled apart
    features = predictor.outputs(np.ascontiguousarray(images), OUTPUTS)["features"]
    found: Floats = np.einsum("nchw,nc->nhw", features, weights)
    return found


def _explains(given: Floats, logits: Floats, matrix: Floats, embedding: Floats) -> bool:
    """Whether scores differ, from picture to picture, as a matrix says, but for a scale."""
    if matrix.shape[0] != embedding.shape[1] or len(logits) < 2:
        return False
    wanted, told = (values - values.mean(axis=0) for values in (logits, given))
    power = float((told * told).sum())
    if power <= 0:
        return False
    scale = float((wanted * told).sum()) / power
    return scale > 0 and _close(wanted, scale * told)


def _close(wanted: Floats, got: Floats) -> bool:
    limit = SAME * max(1e-6, float(np.abs(wanted).max()))
    return bool(np.abs(wanted - got).max() <= limit)


def _matrices(bundle: Bundle, classes: int, width: int) -> Iterator[Floats]:
    """Yield every array of the weights that could be a head, as (width, classes)."""
    if WEIGHTS not in bundle.manifest.files:
        return
    for array in _arrays(bundle.read(WEIGHTS)):
        shape = tuple(size for size in array.shape if size != 1)
        if shape == (classes, width):
            yield array.reshape(shape).T.astype(np.float32)
        if shape == (width, classes):
            yield array.reshape(shape).astype(np.float32)


def _arrays(content: bytes) -> Iterator[NDArray[Any]]:
    """Yield the float arrays of a safetensors file; the last ones, where heads are, first.

    Source: the safetensors format, https://github.com/huggingface/safetensors.
    """
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= min(HEADER_BYTES, len(content) - 8):
        return
    try:
        header = json.loads(content[8 : 8 + length])
        told = [value for name, value in header.items() if name != "__metadata__"]
        found = [(item["dtype"], item["shape"], item["data_offsets"]) for item in told]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    for kind, shape, (start, end) in sorted(found, key=lambda item: -item[2][0]):
        if kind in TYPES:
            part = content[8 + length + start : 8 + length + end]
            array: NDArray[Any] = np.frombuffer(part, TYPES[str(kind)])
            if array.size == int(np.prod(shape)):
                yield array.reshape(shape)
