"""What the first bytes of a picture say: format, size, orientation. Nothing is decoded here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clearsight.core.errors import ImageError

FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff")
MAX_GIF_EXTENSIONS = 1000
MAX_PNG_CHUNKS = 100_000
MAX_PNG_METADATA_BYTES = 1 << 20
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)


class HeaderCutError(ImageError):
    """The header goes on behind the bytes that were given."""

    def __init__(self, image_format: str) -> None:
        super().__init__("undecodable", f"The {image_format.upper()} header is cut off.")


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header declares.

    Args:
        format: one of `FORMATS`.
        width, height: pixels that decoding would produce (before EXIF rotation); the largest
            of canvas, frame and tile where a format has several.
        orientation: EXIF orientation 1-8 of a JPEG; 1 for the other formats, where the decoder
            reads it.
        components: colour components of a JPEG (1, 3 or 4); 0 for the other formats.
        precision: bits a component of a JPEG; 0 for the other formats.
        progressive: a JPEG with several scans over the whole picture.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    components: int = 0
    precision: int = 0
    progressive: bool = False


def sniff(head: bytes) -> str:
    """Return the format that the magic bytes declare.

    Args:
        head: at least the first 32 bytes of the file (fewer when it is shorter).

    Raises:
        ImageError: "empty", or "format" when outside the allow-list.
    """
    if not head:
        raise ImageError("empty", "The file is empty (0 bytes).")
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0")):
        return "tiff"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    raise ImageError(
        "format",
        f"Not a picture in an allowed format (first bytes {head[:8].hex(' ')}). "
        "Allowed: JPEG, PNG, WebP, GIF, BMP, TIFF.",
    )


def read_header(encoded: bytes) -> Header:
    """Read format and size without decoding.

    Args:
        encoded: the file's bytes, or its beginning.

    Raises:
        HeaderCutError: `encoded` ends before the header does.
        ImageError: "empty", "format", or "undecodable" for a broken header.
    """
    image_format = sniff(encoded[:32])
    try:
        header = _PARSERS[image_format](encoded)
    except (struct.error, IndexError):
        raise HeaderCutError(image_format) from None
    if header.width < 1 or header.height < 1:
        raise ImageError(
            "undecodable",
            f"The {image_format.upper()} header declares {header.width} x {header.height} pixels.",
        )
    return header


def exif_orientation(exif: bytes) -> int:
    """Return the EXIF orientation 1-8 that a TIFF-structured EXIF block holds; 1 when none.

    Source: Exif 2.32, tag 0x0112.
    """
    if exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, offset)
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", exif, entry)
            if tag == 0x0112 and kind == 3 and number == 1:
                (value,) = struct.unpack_from(f"{order}H", exif, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _png(data: bytes) -> Header:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13:
        raise ImageError("undecodable", "The PNG does not begin with an IHDR chunk.")
    return Header("png", width, height)


def check_png_metadata(data: bytes) -> None:
    """Refuse a PNG whose text or colour profile inflates to more than 1 MiB in all.

    Raises:
        ImageError: "bytes" for such a bomb, "undecodable" for more than 100,000 chunks.
    """
    position, chunks, room = 8, 0, MAX_PNG_METADATA_BYTES
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            room -= _inflated_size(kind, data[position + 8 : position + 8 + length], room + 1)
            if room < 0:
                raise ImageError(
                    "bytes",
                    f"The PNG's {kind.decode()} inflates to more than "
                    f"{MAX_PNG_METADATA_BYTES:,} bytes.",
                )
        position += 12 + length
        chunks += 1
        if chunks > MAX_PNG_CHUNKS:
            raise ImageError("undecodable", f"The PNG has more than {MAX_PNG_CHUNKS:,} chunks.")


def _inflated_size(kind: bytes, chunk: bytes, at_most: int) -> int:
    if kind == b"iTXt":  # keyword 0, compressed?, method, language 0, translated keyword 0
        _, _, rest = chunk.partition(b"\0")
        compressed = rest[:1] == b"\1"
        stream = rest[2:].split(b"\0", 2)[-1]
        if not compressed:
            return 0
    else:  # keyword 0, method
        stream = chunk.partition(b"\0")[2][1:]
    try:
        return len(zlib.decompressobj().decompress(stream, at_most))
    except zlib.error:
        return 0  # broken: the decoder says so


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    extensions = 0
    while data[position] == 0x21:  # extension blocks before the first frame
        extensions += 1
        if extensions > MAX_GIF_EXTENSIONS:
            raise ImageError("undecodable", "The GIF has too many blocks before its first frame.")
        position += 2
        while data[position]:
            position += 1 + data[position]
        position += 1
    if data[position] != 0x2C:
        raise ImageError("undecodable", "The GIF holds no frame.")
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, position + 1)
    return Header("gif", max(width, left + frame_width), max(height, top + frame_height))


def _bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    if size in (12, 16):
        width, height = struct.unpack_from("<HH" if size == 12 else "<II", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return Header("bmp", width, abs(height))


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8 ":
        start, width, height = struct.unpack_from("<3sHH", data, 23)
        if start != b"\x9d\x01\x2a":
            raise ImageError("undecodable", "The WebP has no VP8 start code.")
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, 20)
        if signature != 0x2F:
            raise ImageError("undecodable", "The WebP has no VP8L signature.")
        return Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        low, high_width, low_height, high = struct.unpack_from("<HBHB", data, 24)
        return Header("webp", (low | high_width << 16) + 1, (low_height | high << 16) + 1)
    if len(data) < 16:
        raise IndexError
    raise ImageError("undecodable", f"The WebP begins with an unknown chunk {kind!r}.")


def _jpeg(data: bytes) -> Header:
    orientation = 1
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xE1 and data.startswith(b"Exif\0\0", start) and orientation == 1:
            orientation = exif_orientation(data[start:end])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, height, width, components = struct.unpack_from(">BHHB", data, start)
            progressive = marker & 3 == 2
            return Header("jpeg", width, height, orientation, components, precision, progressive)
    raise ImageError("undecodable", "The JPEG has no frame header.")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, first byte, one past the last) of each segment before the first scan."""
    position = 2
    while True:
        if data[position] != 0xFF:
            raise ImageError("undecodable", f"The JPEG has no marker at byte {position}.")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker in (0xD9, 0xDA):
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            raise ImageError("undecodable", f"The JPEG has a segment of {length} bytes.")
        yield marker, position + 2, position + length
        position += length


def _tiff(data: bytes) -> Header:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    head, entry, size = ("Q", "HHQ", 20) if big else ("I", "HHI", 12)
    (offset,) = struct.unpack_from(order + head, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
    first = offset + (8 if big else 2)
    if count > 4096:
        raise ImageError("undecodable", f"The TIFF declares {count} tags; at most 4096 are read.")
    tags: dict[int, int] = {}
    for position in range(first, first + size * count, size):
        tag, kind, number = struct.unpack_from(order + entry, data, position)
        code = {1: "B", 3: "H", 4: "I", 16: "Q" if big else ""}.get(kind, "")
        if code and number == 1:
            value_at = position + (12 if big else 8)
            (tags[tag],) = struct.unpack_from(order + code, data, value_at)
    width, height = tags.get(256, 0), tags.get(257, 0)
    tile_width, tile_height = tags.get(322, 0), tags.get(323, 0)
    if tile_width * tile_height > max(width * height, 4096 * 4096):
        raise ImageError("pixels", f"The TIFF has tiles of {tile_width} x {tile_height} pixels.")
    return Header("tiff", width, height)


_PARSERS: dict[str, Callable[[bytes], Header]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "bmp": _bmp,
    "tiff": _tiff,
}
