"""Reads float32 arrays out of a safetensors file without the library: serving stays small."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import BundleError

HEADER_LIMIT_BYTES = 64 * 1024
LENGTH_BYTES = 8


def read_float32(content: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a safetensors file; every one of them must be float32.

    Args:
        content: the file's bytes.

    Returns:
        Read-only arrays by name.

    Raises:
        BundleError: not such a file, or one whose parts overlap or leave it.

    Source: the safetensors format: 8 bytes length, a JSON header, the numbers in little-endian.
    """
    try:
        length = int.from_bytes(content[:LENGTH_BYTES], "little")
        if not 0 < length <= min(HEADER_LIMIT_BYTES, len(content) - LENGTH_BYTES):
            raise ValueError("the header's length is wrong")
        header = json.loads(content[LENGTH_BYTES : LENGTH_BYTES + length])
        header.pop("__metadata__", None)
        data = content[LENGTH_BYTES + length :]
        ends = sorted(_ends(about) for about in header.values())
        if [begin for begin, _ in ends] != [0, *(end for _, end in ends[:-1])]:
            raise ValueError("the arrays overlap or leave gaps")
        if (ends[-1][1] if ends else 0) != len(data):
            raise ValueError("the file is cut off or too long")
        return {str(name): _array(about, data) for name, about in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"This is no safetensors file of float32 arrays: {error}.") from error


def _ends(about: dict[str, Any]) -> tuple[int, int]:
    begin, end = about["data_offsets"]
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end:
        raise ValueError("offsets must be whole numbers that rise")
    return begin, end


def _array(about: dict[str, Any], data: bytes) -> NDArray[np.float32]:
    if about["dtype"] != "F32":
        raise ValueError(f"an array is {about['dtype']!r}, only F32 is read")
    begin, end = _ends(about)
    shape = tuple(about["shape"])
    if any(type(side) is not int or side < 0 for side in shape):
        raise ValueError("a shape must hold whole numbers")
    return np.frombuffer(data[begin:end], dtype="<f4").reshape(shape)
