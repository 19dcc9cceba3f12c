"""Tensors as the Open Inference Protocol writes them: datatypes, shapes, values and raw bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from clearsight.serve.errors import BodyTooLargeError, MalformedRequestError

BYTES = "BYTES"
DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""numpy's word for each datatype of a fixed size; raw tensors are little-endian and row-major."""
MOST_DIMENSIONS = 8
MOST_VALUES = 1_000_000
"""Values in one JSON text. A Python list takes up to 80 times the bytes of its text."""

Content = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor on the wire.

    Args:
        name: of the input or output.
        datatype: a key of `DTYPES`, or `BYTES`.
        shape: sizes of its axes.
        raw: its elements as bytes, where it came so; elements of BYTES carry their lengths.
        values: its elements as a list, nested or flat, where it came so.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: memoryview | None = None
    values: Content | None = None

    def packed(self) -> bytes:
        """Return the elements of `values`, which must be flat, as raw bytes.

        Example:
            >>> Tensor("label", "BYTES", (1, 2), values=["a", "bc"]).packed()
            b'\\x01\\x00\\x00\\x00a\\x02\\x00\\x00\\x00bc'
        """
        values = self.values or ()
        if self.datatype == BYTES:
            return join_elements(text.encode("utf-8") for text in values)
        return np.asarray(values, DTYPES[self.datatype]).tobytes()


def checked_shape(shape: Any, name: str) -> tuple[int, ...]:
    """Return a shape as a tuple.

    Raises:
        MalformedRequestError: it is no short list of whole numbers from 0 on.
    """
    if not isinstance(shape, Sequence) or isinstance(shape, (str, bytes)):
        raise MalformedRequestError(f"The shape of {name!r} must be a list of whole numbers.")
    if len(shape) > MOST_DIMENSIONS:
        raise MalformedRequestError(f"{name!r} has {len(shape)} axes; at most {MOST_DIMENSIONS}.")
    if not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise MalformedRequestError(
            f"The shape of {name!r} must hold whole numbers from 0 on, for example [1]."
        )
    return tuple(shape)


def split_elements(raw: memoryview, count: int, name: str) -> list[bytes]:
    """Return the elements of a raw BYTES tensor.

    Args:
        raw: each element is its length, 4 bytes little-endian, and then its bytes.
        count: how many there must be; the caller has bounded it.
        name: for the message.

    Raises:
        MalformedRequestError: a length goes beyond the end, or something is left over.

    Example:
        >>> split_elements(memoryview(b"\\x01\\0\\0\\0a\\x02\\0\\0\\0bc"), 2, "image")
        [b'a', b'bc']
    """
    elements: list[bytes] = []
    at, end = 0, len(raw)
    for index in range(count):
        length = int.from_bytes(raw[at : at + 4], "little")
        at += 4
        if at > end or length > end - at:
            raise MalformedRequestError(
                f"Element {index} of {name!r} goes beyond the end of its {end:,} bytes. Each "
                "element of BYTES is its length (4 bytes, little-endian) and then its bytes."
            )
        elements.append(bytes(raw[at : at + length]))
        at += length
    if at != end:
        raise MalformedRequestError(
            f"{end - at:,} bytes are left over after the {count} elements of {name!r}."
        )
    return elements


def join_elements(elements: Iterable[bytes]) -> bytes:
    """Return a raw BYTES tensor; the inverse of `split_elements`."""
    return b"".join(chain.from_iterable((struct.pack("<I", len(e)), e) for e in elements))


def flat(values: Any, shape: tuple[int, ...], name: str) -> list[Any]:
    """Return the elements of a tensor whose values came as a list, nested or flat.

    Args:
        values: nested as deep as `shape` is long, or flat.
        shape: sizes of the axes.
        name: for the message.

    Raises:
        MalformedRequestError: the list does not have the shape.

    Example:
        >>> flat([[1, 2], [3, 4]], (2, 2), "pixels"), flat([1, 2, 3, 4], (2, 2), "pixels")
        ([1, 2, 3, 4], [1, 2, 3, 4])
    """
    wrong = MalformedRequestError(
        f"The data of {name!r} must be a list, nested or flat, of the shape {list(shape)}: "
        f"{volume(shape):,} values."
    )
    if not isinstance(values, list):
        raise wrong
    for axis in range(1, len(shape)):
        if not any(isinstance(item, list) for item in values):
            break  # flat from here on
        if len(values) != volume(shape[:axis]) or not all(
            isinstance(item, list) and len(item) == shape[axis] for item in values
        ):
            raise wrong
        values = list(chain.from_iterable(values))
    found: list[Any] = values
    if len(found) != volume(shape) or any(isinstance(item, (list, dict)) for item in found):
        raise wrong
    return found


def volume(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a shape."""
    count = 1
    for size in shape:
        count *= size
    return count


def check_json_size(text: bytes | memoryview) -> None:
    """Refuse a JSON text that would take far more memory than its own size, before parsing.

    Raises:
        BodyTooLargeError: more than `MOST_VALUES` values.
    """
    content = bytes(text) if isinstance(text, memoryview) else text
    if sum(map(content.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise BodyTooLargeError(
            f"The JSON holds more than {MOST_VALUES:,} values. Send pixels as binary data, or "
            "encoded pictures."
        )
