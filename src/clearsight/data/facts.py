"""What a sample of the pictures looks like: size and colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearsight.core.errors import ImageError
from clearsight.core.seeds import generator
from clearsight.data.dataset import Dataset
from clearsight.data.header import read_header
from clearsight.data.source import ArraySource

_MAX_DECODED = 64


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts for choosing a model.

    Args:
        height, width: medians in pixels, upright.
        grey: every sampled picture has three equal channels.
    """

    height: int
    width: int
    grey: bool


def image_facts(dataset: Dataset, seed: int, limit: int = 256) -> ImageFacts:
    """Look at a random sample: sizes from headers, colour from up to 64 decoded pictures.

    Args:
        dataset: the pictures; at least one must be readable.
        seed: which ones are looked at.
        limit: how many headers are read.

    Raises:
        ImageError: no sampled picture can be read.
    """
    order = generator(seed, "facts").permutation(len(dataset))[:limit]
    sizes: list[tuple[int, int]] = []
    grey = True
    error: ImageError | None = None
    for position, index in enumerate(order.tolist()):
        try:
            sizes.append(_size(dataset, index))
            if grey and position < _MAX_DECODED:
                image = dataset.image(index)
                grey = bool(np.all(image == image[:, :, :1]))
        except ImageError as caught:
            error = caught
    if not sizes:
        raise error or ImageError("empty", "The data set holds no picture.")
    height, width = np.median(np.array(sizes), axis=0)
    return ImageFacts(int(height), int(width), grey)


def _size(dataset: Dataset, index: int) -> tuple[int, int]:
    if isinstance(dataset.source, ArraySource):
        height, width = dataset.source.pixels(dataset.samples[index].name).shape[:2]
        return height, width
    header = read_header(dataset.encoded(index))
    if header.orientation >= 5:
        return header.width, header.height
    return header.height, header.width
