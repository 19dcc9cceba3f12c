"""A look at a protobuf message before it is parsed: parsing many empty parts takes much memory.

Source: the protobuf wire format: a field is a varint (number * 8 + type), then its content.
"""

from __future__ import annotations

from collections.abc import Iterator

from clearsight.serve.errors import BodyTooLargeError, MalformedRequestError

MOST_FIELDS = 256
MOST_ELEMENTS = 1024  # typed contents: a picture each, and all numbers together are one (packed)
MOST_FIELD_BYTES = 64 * 1024  # of a field of an input that is not its contents
INPUTS, CONTENTS = 5, 5  # numbers in ModelInferRequest and in InferInputTensor
VARINT, FIXED_64, COUNTED, FIXED_32 = 0, 1, 2, 5


def check_wire(message: bytes) -> None:
    """Pass when a ModelInferRequest has a sane number of parts.

    Raises:
        MalformedRequestError: it is broken.
        BodyTooLargeError: it has far more parts than any request needs.

    Example:
        >>> check_wire(b"\\x2a\\x00" * 3)  # three empty inputs
    """
    view = memoryview(message)
    for number, start, end in _fields(view, 0, len(view)):
        if number == INPUTS:
            for inner, begin, stop in _fields(view, start, end):
                if inner == CONTENTS:
                    for _ in _fields(view, begin, stop, MOST_ELEMENTS):
                        pass
                elif stop - begin > MOST_FIELD_BYTES:
                    raise BodyTooLargeError("An input's name, shape or parameters are too large.")


def _fields(
    view: memoryview, at: int, end: int, most: int = MOST_FIELDS
) -> Iterator[tuple[int, int, int]]:
    """Yield number, first byte and one past the last byte of each field."""
    for _ in range(most):
        if at == end:
            return
        tag, at = _varint(view, at, end)
        start = at
        kind = tag & 7
        if kind == VARINT:
            _, at = _varint(view, at, end)
        elif kind == COUNTED:
            length, start = _varint(view, at, end)
            at = start + length
        elif kind in (FIXED_32, FIXED_64):
            at += 4 if kind == FIXED_32 else 8
        else:
            raise _broken()
        if at > end:
            raise _broken()
        yield tag >> 3, start, at
    if at < end:
        raise BodyTooLargeError(f"The message has a part with more than {most} parts.")


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _broken()


def _broken() -> MalformedRequestError:
    return MalformedRequestError("The message is no ModelInferRequest.")
