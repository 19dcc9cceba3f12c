"""Encoded bytes to RGB pixels: one function for training, prediction and the service.

The rules, the same everywhere: the first frame or page; EXIF orientation applied; transparency
laid over white; 16 bits reduced to their high byte; CMYK (Adobe's inverted too) by the plain
formula; colour profiles ignored. The header is checked before a pixel is decoded.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from clearsight.core.errors import ImageError
from clearsight.core.nouns import ImageHWC
from clearsight.data.header import Header, check_png_metadata, exif_orientation, read_header, sniff

__all__ = ["VERSION", "Header", "Limits", "check_limits", "decode", "read_header", "sniff"]

VERSION = 1  # part of the pixel cache's key: raise it when the same bytes give other pixels
_MAX_JPEG_SCANS = 100  # a real progressive JPEG has about ten; each one costs a pass
_MAX_JPEG_SCANNED_PIXELS = 1_000_000_000  # scans times pixels; about 2 s

_OPENERS: dict[str, Any] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
_PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
    UnidentifiedImageError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may cost.

    Args:
        max_bytes: encoded size.
        max_pixels: width times height, as the header declares it.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 100_000_000


_DEFAULT = Limits()
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
# What simplejpeg refuses although the picture is whole: Pillow decodes it, or refuses it too.
_RETRY_WITH_PILLOW = ("extraneous bytes before marker", "Could not determine subsampling")


def check_limits(header: Header, n_bytes: int, limits: Limits = _DEFAULT) -> None:
    """Refuse a picture that would cost too much, before it is decoded.

    Raises:
        ImageError: "bytes" or "pixels".
    """
    if n_bytes > limits.max_bytes:
        raise ImageError(
            "bytes", f"The file has {n_bytes:,} bytes; at most {limits.max_bytes:,} are allowed."
        )
    if header.width * header.height > limits.max_pixels:
        raise ImageError(
            "pixels",
            f"The picture has {header.width:,} x {header.height:,} pixels; "
            f"at most {limits.max_pixels:,} are allowed in all.",
        )


def decode(
    encoded: bytes, limits: Limits = _DEFAULT, min_size: tuple[int, int] | None = None
) -> ImageHWC:
    """Decode one picture.

    Args:
        encoded: the bytes of a JPEG, PNG, WebP, GIF, BMP or TIFF file.
        limits: what it may cost.
        min_size: when given (height, width), a large JPEG may come back smaller, scaled by
            1/2, 1/4 or 1/8 inside the decoder, but never below this size.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ImageError: the bytes are no usable picture; `reason` says why.
    """
    if len(encoded) > limits.max_bytes:
        check_limits(Header("", 0, 0), len(encoded), limits)
    header = read_header(encoded)
    check_limits(header, len(encoded), limits)
    try:
        if header.format == "jpeg":
            return _jpeg(encoded, header, min_size)
        return _pillow(encoded, header)
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageError("pixels", f"The picture is too large: {error}.") from error
    except ImageError:
        raise
    except _PILLOW_ERRORS as error:
        text = str(error).strip().rstrip(".")[:200] or type(error).__name__
        detail = f"The {header.format.upper()} is damaged or not supported: {text}."
        raise ImageError("undecodable", detail) from error


def orient(image: ImageHWC, orientation: int) -> ImageHWC:
    """Turn a picture upright.

    Args:
        image: (height, width, channels).
        orientation: EXIF orientation 1-8.
    """
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _jpeg(encoded: bytes, header: Header, min_size: tuple[int, int] | None) -> ImageHWC:
    if header.progressive:
        _check_scans(encoded, header)
    if header.precision != 8 or header.components not in (1, 3):
        return _pillow(encoded, header)
    scale = _scale(header, min_size) if min_size else {}
    try:
        pixels: ImageHWC = simplejpeg.decode_jpeg(encoded, "RGB", strict=True, **scale)
    except ValueError as error:
        if not any(text in str(error) for text in _RETRY_WITH_PILLOW):
            raise
        return _pillow(encoded, header)
    return orient(pixels, header.orientation)


def _check_scans(encoded: bytes, header: Header) -> None:
    scans = encoded.count(b"\xff\xda")
    if scans > _MAX_JPEG_SCANS or scans * header.width * header.height > _MAX_JPEG_SCANNED_PIXELS:
        raise ImageError(
            "pixels",
            f"The progressive JPEG paints {header.width:,} x {header.height:,} pixels {scans} "
            f"times; at most {_MAX_JPEG_SCANS} times and {_MAX_JPEG_SCANNED_PIXELS:,} pixels in "
            "all are allowed.",
        )


def _scale(header: Header, min_size: tuple[int, int]) -> dict[str, int]:
    """Choose 1/8, 1/4, 1/2 or full size: the smallest that keeps `min_size` (of the upright)."""
    height, width = min_size if header.orientation < 5 else min_size[::-1]
    for factor in (8, 4, 2):
        rows, columns = -(-header.height // factor), -(-header.width // factor)
        if rows >= height and columns >= width:
            return {"min_height": rows, "min_width": columns}
    return {}


def _pillow(encoded: bytes, header: Header) -> ImageHWC:
    if header.format == "png":
        check_png_metadata(encoded)
    _silence_pillow()
    with _OPENERS[header.format](io.BytesIO(encoded)) as image:
        if header.format == "jpeg":
            orientation = header.orientation
        else:
            orientation = exif_orientation(image.info.get("exif", b""))
        image.load()  # Pillow turns a TIFF upright here
        pixels = _to_rgb(image)
    return orient(pixels, orientation if header.format != "tiff" else 1)


def _to_rgb(image: Image.Image) -> ImageHWC:
    if image.mode.startswith("I;16"):
        return _grey_to_rgb(_grey_16_bit(image))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"32-bit pixels (mode {image.mode}) have no agreed range; save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        return _over_white(image.convert("RGBA"))
    if image.mode in ("L", "1"):
        return _grey_to_rgb(np.asarray(image.convert("L")))
    return np.array(image.convert("RGB"))


def _grey_16_bit(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    grey: NDArray[np.uint8] = (values.astype(np.uint16, copy=False) >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0:
        return 255 - grey  # WhiteIsZero, which Pillow turns round for 8 bits only
    return grey


def _grey_to_rgb(grey: NDArray[np.uint8]) -> ImageHWC:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _over_white(rgba: Image.Image) -> ImageHWC:
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=rgba.getchannel("A"))
    return np.array(white)


def _silence_pillow() -> None:
    """Keep Pillow's remarks on odd metadata out of the user's terminal; safe to call often."""
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)
