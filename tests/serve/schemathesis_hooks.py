"""What schemathesis must be told: an encoded picture is no random text."""

import base64
import io

import schemathesis
from hypothesis import strategies
from PIL import Image


def encoded(kind, size):
    """Return a small picture."""
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(stream, kind)
    return stream.getvalue()


PICTURES = [
    encoded(kind, size)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
    for size in ((8, 8), (31, 17))
]
BASE64 = [base64.b64encode(picture).decode() for picture in PICTURES]

schemathesis.openapi.format("encoded-picture", strategies.sampled_from(BASE64))
for media_type in ("jpeg", "png", "webp", "gif", "bmp", "tiff"):
    schemathesis.openapi.media_type(f"image/{media_type}", strategies.sampled_from(PICTURES))
schemathesis.openapi.media_type("application/octet-stream", strategies.sampled_from(PICTURES))
PRINTABLE = strategies.text("abcdefghij XYZ0123456789äß猫犬", min_size=1, max_size=200)
schemathesis.openapi.format("printable", PRINTABLE.map(str.strip).filter(bool))
