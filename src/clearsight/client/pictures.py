"""Pictures on their way out: read, and made smaller where the model sees no difference."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from clearsight.core.errors import ImageError, UsageError
from clearsight.data.decode import decode, read_header

Picture = str | os.PathLike[str] | bytes | NDArray[np.uint8]
"""A file's path, an encoded picture, or decoded RGB (height, width, 3) or grey (height, width)."""

OVERSAMPLING = 3  # so many pixels for one of the model's: with 2, twice as many labels change
WORTH_IT = 0.8  # pictures that would keep more of their side than this are sent as they are
SMALL_BYTES = 32 * 1024  # and so are files of this size: the answer's way back takes longer
QUALITY = 92


def encode(picture: Picture, input_size: tuple[int, int] | None = None) -> bytes:
    """Return the bytes to send for a picture.

    A large picture is turned upright, scaled down so that its short side keeps three times the
    longer side of the model's input, and encoded as JPEG without metadata. Small pictures and
    those whose header cannot be read go out as they are.

    Args:
        picture: see `Picture`.
        input_size: (height, width) of the model's input; nothing is made smaller where None.

    Raises:
        ImageError: the file cannot be read, or a large picture cannot be decoded.
        UsageError: an array that is no picture.
    """
    if isinstance(picture, np.ndarray):
        return _encode_array(picture, input_size)
    encoded = bytes(picture) if isinstance(picture, bytes | bytearray) else _read(Path(picture))
    if input_size is None or len(encoded) <= SMALL_BYTES:
        return encoded
    try:
        header = read_header(encoded)
    except ImageError:
        return encoded  # the service says what is wrong with it
    side = OVERSAMPLING * max(input_size)
    if side > WORTH_IT * min(header.height, header.width):
        return encoded
    smaller = _jpeg(shrink(decode(encoded, min_size=(side, side)), side))
    return smaller if len(smaller) < len(encoded) else encoded


def shrink(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Scale a picture down so that its short side is `side`; a smaller one stays as it is.

    Args:
        image: (height, width, 3) uint8.
        side: pixels.
    """
    import cv2

    height, width = image.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return image
    size = (max(side, math.ceil(width * scale)), max(side, math.ceil(height * scale)))
    smaller: NDArray[np.uint8] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller


def listed(pictures: Picture | Iterable[Picture]) -> tuple[bool, list[Picture]]:
    """Return whether several pictures were given, and them as a list."""
    if isinstance(pictures, str | bytes | bytearray | os.PathLike):
        return False, [pictures]
    if isinstance(pictures, np.ndarray) and pictures.ndim < 4:
        return False, [pictures]
    return True, list(pictures)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ImageError("unreadable", f"{path} cannot be read: {why}.") from error


def _encode_array(image: NDArray[np.uint8], input_size: tuple[int, int] | None) -> bytes:
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UsageError(
            "A picture as an array must be uint8 of shape (height, width, 3), RGB, or "
            f"(height, width); got {image.dtype} {image.shape}."
        )
    side = OVERSAMPLING * max(input_size) if input_size else 0
    if side and side <= WORTH_IT * min(image.shape[:2]):
        return _jpeg(shrink(image, side))
    import cv2

    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return bytes(cv2.imencode(".png", image[:, :, ::-1], fast)[1])


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=QUALITY, colorspace="RGB", colorsubsampling="420"
    )
    return encoded
