"""Small pictures for the report, as data: URIs."""

from __future__ import annotations

import base64
import io

from clearsight.core.errors import ClearsightError
from clearsight.core.nouns import ImageHWC
from clearsight.data.dataset import Dataset

LARGEST_SIDE = 224
SMALL_SIDE = 64


def thumbnail_uri(dataset: Dataset, index: int) -> str | None:
    """Return one picture of a data set, at most 224 pixels wide and high, as a data: URI.

    Args:
        dataset: where the picture is.
        index: its place in `dataset.samples`.

    Returns:
        PNG for small pictures (at most 64 pixels, kept exact), else JPEG; None when it can no
        longer be read.
    """
    try:
        return _encode(dataset.image(index))
    except ClearsightError:
        return None


def png_uri(content: bytes) -> str:
    """Return a PNG file as a data: URI."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def _encode(image_hwc: ImageHWC) -> str:
    from PIL import Image

    picture = Image.fromarray(image_hwc)
    small = max(picture.size) <= SMALL_SIDE
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    stream = io.BytesIO()
    if small:
        picture.save(stream, "PNG")
    else:
        picture.save(stream, "JPEG", quality=85)
    content = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{'png' if small else 'jpeg'};base64,{content}"
