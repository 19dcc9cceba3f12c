"""Pictures out of a request body: raw bytes, multipart/form-data, or JSON with base64.

Every bound holds while the bytes arrive: size of the body, number of parts, size of part headers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from clearsight.core.errors import nearest
from clearsight.serve.errors import (
    FormatRefusedError,
    ImpossibleRequestError,
    MalformedRequestError,
)
from clearsight.serve.http_messages import Request

NAME_LENGTH = 200
OFF_LOOP_BYTES = 256 * 1024  # larger JSON is parsed beside the event loop


@dataclass(frozen=True, slots=True)
class Upload:
    """The pictures of one request.

    Args:
        pictures: encoded bytes.
        names: the client's own file name of each, None where it sent none.
        many: True when the answer is a list even for one picture.
    """

    pictures: list[bytes]
    names: list[str | None]
    many: bool


async def read_upload(request: Request) -> Upload:
    """Read the pictures of a request, whichever way they were sent.

    Raises:
        MalformedRequestError, ImpossibleRequestError, FormatRefusedError: see their messages.
        BodyTooLargeError, BodyTooSlowError, ClientLeftError: see `Request.body`.
    """
    encoding = request.header(b"content-encoding").strip().lower()
    if encoding not in ("", "identity"):
        raise FormatRefusedError(
            f"Content-Encoding {encoding[:40]!r} is not read here. Send the body unpacked."
        )
    header = request.header(b"content-type")
    kind, options = parse_options_header(header) if header else (b"", {})
    if kind == b"multipart/form-data":
        return await _multipart(request, options.get(b"boundary", b""))
    body = await request.body()
    if kind == b"application/json":
        if len(body) > OFF_LOOP_BYTES:
            return await asyncio.to_thread(_json, body, request.limits.pictures)
        return _json(body, request.limits.pictures)
    return Upload([body], [None], many=False)


def _json(body: bytes, most: int) -> Upload:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedRequestError("The body is not valid JSON.") from error
    expected = 'Send {"image": "<base64>"} or {"images": ["<base64>", ...]}.'
    if not isinstance(value, dict):
        raise MalformedRequestError(f"The JSON body must be an object. {expected}")
    if unknown := sorted(set(value) - {"image", "images"}):
        hint = nearest(unknown[0][:80], ("image", "images"))
        raise MalformedRequestError(f"Unknown JSON field {unknown[0][:80]!r}.{hint}")
    if len(value) != 1:
        raise MalformedRequestError(f"The JSON body must have one field. {expected}")
    if "image" in value:
        return Upload([_unbase64(value["image"])], [None], many=False)
    items = value["images"]
    if not isinstance(items, list):
        raise MalformedRequestError(f"'images' must be a list. {expected}")
    if len(items) > most:
        raise ImpossibleRequestError(_too_many(most))
    return Upload([_unbase64(item) for item in items], [None] * len(items), many=True)


def _unbase64(value: Any) -> bytes:
    if not isinstance(value, str):
        raise MalformedRequestError(f"A picture must be base64 text, got {_kind(value)}.")
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise MalformedRequestError(
            "A picture is not valid base64 (RFC 4648, with padding, no line breaks, no data: URL)."
        ) from error


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


async def _multipart(request: Request, boundary: bytes) -> Upload:
    if not boundary:
        raise MalformedRequestError("The multipart Content-Type names no boundary.")
    parts = _Parts(request.limits.pictures)
    try:
        parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        async for chunk in request.chunks():
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequestError("The multipart body is broken.") from error
    if not parts.ended:
        raise MalformedRequestError("The multipart body ends in the middle.")
    pictures = [bytes(content) for content in parts.contents]
    return Upload(pictures, parts.names, many=len(pictures) != 1)


class _Parts:
    """Collects file parts; refuses the first beyond the limit and every part that is no file."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.contents: list[bytearray] = []
        self.names: list[str | None] = []
        self.ended = False
        self._field = self._value = b""
        self._disposition: bytes | None = None

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.contents) >= self.most:
            raise ImpossibleRequestError(_too_many(self.most))
        self._field = self._value = b""
        self._disposition = None

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        elif self._field.lower() == b"content-transfer-encoding" and self._value.lower() not in (
            b"binary",
            b"8bit",
            b"7bit",
        ):
            raise MalformedRequestError(
                "Send multipart files as they are, without transfer encoding."
            )
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition or b"")
        if b"filename" not in options:
            raise MalformedRequestError(
                "A multipart part is no file (it has no filename). "
                "Options such as top and model belong into the query: ?top=5&model=NAME."
            )
        name = options[b"filename"].decode("utf-8", "replace")
        self.names.append(name[:NAME_LENGTH])
        self.contents.append(bytearray())

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.contents[-1] += memoryview(data)[start:end]

    def _end(self) -> None:
        self.ended = True


def _too_many(most: int) -> str:
    return f"At most {most} pictures are taken at once. Send several requests."
