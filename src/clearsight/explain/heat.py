"""Maps as pictures: transparent where nothing speaks for the class, bright where much does."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImageHWC, Preprocessing
from clearsight.explain.place import over_picture

LARGEST_SIDE = 448
SMALLEST_SIDE = 160
Rgba = NDArray[np.uint8]


def strength(map_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the evidence for the class, in [0, 1]; evidence against it is 0.

    Args:
        map_hw: (h, w) float32; one without positive values is shown from its lowest value on.
    """
    found = np.maximum(map_hw, 0) if map_hw.max() > 0 else map_hw - map_hw.min()
    highest = float(found.max())
    return (found / highest if highest > 0 else np.zeros_like(found)).astype(np.float32)


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) at which a picture is shown: small ones in whole blocks.

    Example:
        >>> shown_size((28, 28)), shown_size((1000, 2000))
        ((168, 168), (224, 448))
    """
    longer = max(size)
    if longer < SMALLEST_SIDE:
        blocks = -(-SMALLEST_SIDE // longer)
        return size[0] * blocks, size[1] * blocks
    scale = min(1.0, LARGEST_SIDE / longer)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shown(image_hwc: ImageHWC) -> ImageHWC:
    """Return a picture, (h, w, 3) uint8, at the size at which it is shown."""
    height, width = shown_size((image_hwc.shape[0], image_hwc.shape[1]))
    enlarging = height >= image_hwc.shape[0]
    method = cv2.INTER_NEAREST if enlarging else cv2.INTER_AREA
    found = cv2.resize(image_hwc, (width, height), interpolation=method)
    return np.asarray(found, dtype=np.uint8)


def heat(map_hw: NDArray[np.float32], preprocessing: Preprocessing, size: tuple[int, int]) -> Rgba:
    """Return a map as (h, w, 4) uint8 RGBA, to lie over the picture as `shown` gives it.

    Args:
        map_hw: (h, w) float32 at the model's input size.
        preprocessing: what made the input from the picture.
        size: (height, width) of the picture.
    """
    evidence = over_picture(strength(map_hw), preprocessing, shown_size(size))
    level = np.rint(255 * np.clip(evidence, 0, 1)).astype(np.uint8)
    colour = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return np.dstack([colour, level])


def overlay(image_hwc: ImageHWC, layer: Rgba, opacity: float = 0.7) -> ImageHWC:
    """Return a picture, as `shown` gives it, with a layer over it.

    Args:
        image_hwc: (h, w, 3) uint8.
        layer: (h, w, 4) uint8 from `heat`.
        opacity: of the layer, in [0, 1].
    """
    share = layer[..., 3:].astype(np.float32) / 255 * opacity
    found = image_hwc * (1 - share) + layer[..., :3] * share
    return np.rint(found).astype(np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    """Return an RGB or RGBA picture as a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
