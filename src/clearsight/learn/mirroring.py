"""Asks the training pictures whether mirroring keeps their meaning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from clearsight.core.nouns import ImagesNHWC
from clearsight.core.seeds import generator

REFERENCES, QUERIES = 1500, 1000
SIDE = 12
FAMILIAR = 0.8  # a class is familiar if its mirrored pictures are recognised this often as well
SWAPPED = 0.3  # share of a class that mirroring moves to one other class
FEWEST = 5  # queries a class needs to have a say


@dataclass(frozen=True)
class Verdict:
    """Whether to mirror, and why.

    Args:
        mirror: mirroring keeps the label.
        reason: one sentence for the story.
    """

    mirror: bool
    reason: str


def mirroring_keeps_labels(
    images_nhwc: ImagesNHWC, labels: NDArray[np.int64], classes: tuple[str, ...], seed: int
) -> Verdict:
    """Decide by nearest neighbours whether training pictures may be mirrored.

    Held-out training pictures are recognised twice: among real pictures and among mirrored ones.
    Mirroring is used where at least half of the classes are recognised nearly as well among
    mirrored pictures, and no two classes turn into each other (an arrow left and an arrow right).
    The bounds are a rule of thumb, not a guarantee; the option `mirror` overrides them.

    Args:
        images_nhwc: (n, h, w, c) uint8 training pictures.
        labels: (n,) int64.
        classes: class names.
        seed: draws the sample.
    """
    order = generator(seed, "mirroring").permutation(len(labels))
    order = order[labels[order] >= 0][: REFERENCES + QUERIES]
    cut = len(order) * REFERENCES // (REFERENCES + QUERIES)
    known, asked = np.sort(order[:cut]), np.sort(order[cut:])
    counts = np.bincount(labels[asked], minlength=len(classes))
    heard = np.flatnonzero(counts >= FEWEST)
    if len(heard) < 2:
        return Verdict(False, "too few pictures to tell whether mirroring keeps their labels")
    references = images_nhwc[known]
    queries = _described(images_nhwc[asked])
    mirrored = np.ascontiguousarray(references[:, :, ::-1])
    real = labels[known][_nearest(queries, _described(references))]
    other = labels[known][_nearest(queries, _described(mirrored))]
    before = _moves(labels[asked], real, len(classes))
    after = _moves(labels[asked], other, len(classes))
    familiar = int(np.sum(np.diag(after)[heard] >= FAMILIAR * np.diag(before)[heard]))
    told = f"{familiar} of {len(heard)} classes look alike when mirrored"
    gained = after - before
    swapped = np.argwhere(np.triu((gained >= SWAPPED) & (gained.T >= SWAPPED), 1))
    if len(swapped):
        one, two = (classes[number] for number in swapped[0])
        return Verdict(False, f"mirroring turns {one!r} and {two!r} into each other")
    return Verdict(2 * familiar >= len(heard), told)


def _described(images_nhwc: ImagesNHWC) -> torch.Tensor:
    """Return unit vectors (n, d): pictures shrunk by area, less their mean."""
    pixels = torch.from_numpy(np.ascontiguousarray(images_nhwc)).permute(0, 3, 1, 2).float()
    height, width = (min(SIDE, size) for size in pixels.shape[2:])
    small = F.interpolate(pixels, (height, width), mode="area").flatten(1)
    return F.normalize(small - small.mean(1, keepdim=True), dim=1)


def _nearest(queries: torch.Tensor, references: torch.Tensor) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (queries @ references.T).argmax(1).numpy()
    return found


def _moves(
    labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Return (classes, classes): the share of each class (row) that was taken for each (column)."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, answers), 1)
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares
