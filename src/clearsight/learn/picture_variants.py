"""The same picture as the world sends it: JPEG, turned, CMYK, grey, with alpha, 16-bit, 1:8."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from clearsight.core.nouns import ImageHWC, Preprocessing
from clearsight.data.decode import decode

EXIF_ORIENTATION = 0x0112
ORIENTATIONS = {3: 2, 6: 1, 8: 3}  # EXIF value -> quarter turns (left) of the stored picture
LARGEST_SIDE = 384  # variants are made of a reduced picture: the gate runs inside --time


@dataclass(frozen=True)
class Variant:
    """One variant.

    Args:
        kind: "exif-6", "jpeg-exif", "cmyk", "grey", "alpha", "16-bit", "1:8".
        encoded: its file.
        twin: uint8 HWC RGB pixels that decoding the file must give.
    """

    kind: str
    encoded: bytes
    twin: ImageHWC


def picture_variants(image: ImageHWC, preprocessing: Preprocessing) -> Iterator[Variant]:
    """Yield variants of one picture, each with the pixels it must decode to.

    Args:
        image: (height, width, 3) uint8 RGB; not modified.
        preprocessing: what the model wants.
    """
    image = _reduced(image, LARGEST_SIDE)
    for orientation, quarters in ORIENTATIONS.items():
        stored = Image.fromarray(np.ascontiguousarray(np.rot90(image, quarters)))
        encoded = _encode(stored, "PNG", exif=_exif(orientation))
        yield Variant(f"exif-{orientation}", encoded, image)
    yield _turned_jpeg(image, preprocessing)
    yield Variant("cmyk", _encode(Image.fromarray(image).convert("CMYK"), "TIFF"), image)
    luma = np.asarray(Image.fromarray(image).convert("L"))
    grey = np.repeat(luma[:, :, None], 3, axis=2)
    yield Variant("grey", _encode(Image.fromarray(luma), "PNG"), grey)
    opaque = np.full_like(image[:, :, :1], 255)
    with_alpha = Image.fromarray(np.concatenate([image, opaque], axis=2))
    yield Variant("alpha", _encode(with_alpha, "PNG"), image)
    yield Variant("16-bit", _png16(image), image)
    strip = np.ascontiguousarray(image[:, : max(1, image.shape[0] // 8)])
    yield Variant("1:8", _encode(Image.fromarray(strip), "PNG"), strip)


def _turned_jpeg(image: ImageHWC, preprocessing: Preprocessing) -> Variant:
    """Return a JPEG small enough that it is not shrunk while it is decoded, turned by EXIF."""
    small = _reduced(image, min(LARGEST_SIDE, 2 * min(preprocessing.height, preprocessing.width)))
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(small)))
    upright = np.rot90(decode(_encode(stored, "JPEG")), -1)
    encoded = _encode(stored, "JPEG", exif=_exif(6))
    return Variant("jpeg-exif", encoded, np.ascontiguousarray(upright))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return exif


def _reduced(image: ImageHWC, largest: int) -> ImageHWC:
    height, width = image.shape[:2]
    scale = largest / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    fast = {"compress_level": 1} if form == "PNG" else {}
    picture.save(stream, form, **fast, **options)
    return stream.getvalue()


def _png16(image: ImageHWC) -> bytes:
    wide = image[:, :, ::-1].astype(np.uint16) * 257  # cv2 writes BGR
    _, encoded = cv2.imencode(".png", wide, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return encoded.tobytes()
