"""Requests ready to be written: bytes for HTTP, messages for gRPC; built once, sent often."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from clearsight.client import wire

GRPC_METHOD = "/inference.GRPCInferenceService/ModelInfer"
OIP_PRIORITIES = {"normal": 1, "batch": 2}


@dataclass(frozen=True, slots=True)
class Ask:
    """What every request says beside its picture.

    Args:
        model: its name; empty where the service has one.
        top: how many labels.
        deadline_s: or None.
        priority: "normal" or "batch".
        key: API key, or None.
    """

    model: str = ""
    top: int = 5
    deadline_s: float | None = None
    priority: str = "normal"
    key: str | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers, or gRPC metadata, that carry the key."""
        return {} if self.key is None else {"authorization": f"Bearer {self.key}"}


def http_request(
    url: str, target: str, headers: Mapping[str, str], body: bytes, method: str = "POST"
) -> bytes:
    """Return the bytes of one HTTP/1.1 request.

    Args:
        url: of the service; its path stands before `target`.
        target: path and query.
        headers: beside Host and Content-Length.
        body: as it is sent.

    Example:
        >>> http_request("http://a:1", "/x", {"A": "b"}, b"c")
        b'POST /x HTTP/1.1\\r\\nHost: a:1\\r\\nA: b\\r\\nContent-Length: 1\\r\\n\\r\\nc'
    """
    parts = urlsplit(url)
    lines = [f"{method} {parts.path.rstrip('/')}{target} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def rest_requests(url: str, pictures: Iterable[bytes], ask: Ask) -> list[bytes]:
    """Return one POST /v1/recognize a picture, the picture as the body."""
    options = {"top": str(ask.top), **({"model": ask.model} if ask.model else {})}
    if ask.deadline_s is not None:
        options |= wire.promises(ask.deadline_s, ask.priority)
    elif ask.priority != "normal":
        options["priority"] = ask.priority
    headers = {"Content-Type": "application/octet-stream", **ask.headers()}
    target = f"/v1/recognize?{urlencode(options)}"
    return [http_request(url, target, headers, picture) for picture in pictures]


def oip_rest_requests(url: str, pictures: Iterable[bytes], ask: Ask) -> list[bytes]:
    """Return one infer request of the Open Inference Protocol a picture, with binary data.

    Source: Open Inference Protocol v2, REST, with the binary tensor data extension.
    """
    requests = []
    for picture in pictures:
        tensor = len(picture).to_bytes(4, "little") + picture
        head = {
            "parameters": {**_parameters(ask), "binary_data_output": False},
            "inputs": [
                {
                    "name": "image",
                    "shape": [1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
        }
        text = json.dumps(head, separators=(",", ":")).encode("ascii")
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(text)),
            **ask.headers(),
        }
        requests.append(http_request(url, f"/v2/models/{ask.model}/infer", headers, text + tensor))
    return requests


def grpc_messages(pictures: Iterable[bytes], ask: Ask) -> list[bytes]:
    """Return one encoded ModelInferRequest a picture.

    Source: Open Inference Protocol v2, gRPC; Protocol Buffers encoding, protobuf.dev.
    """
    parameters = b"".join(
        _field(4, _field(1, name.encode("ascii")) + _field(2, _varint_field(2, value)))
        for name, value in _parameters(ask).items()
    )
    shape = _field(3, b"\x01")  # packed: one dimension of 1
    tensor = _field(5, _field(1, b"image") + _field(2, b"BYTES") + shape)
    head = _field(1, ask.model.encode("utf-8")) + parameters + tensor
    return [head + _field(7, len(picture).to_bytes(4, "little") + picture) for picture in pictures]


def grpc_version(message: bytes) -> str:
    """Return field 2, the model's version, of a ModelInferResponse; empty when it has none."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 2:
            size, at = _read_varint(message, at)
            if number == 2:
                return message[at : at + size].decode("utf-8", "replace")
            at += size
        elif kind == 0:
            _, at = _read_varint(message, at)
        else:
            at += {1: 8, 5: 4}.get(kind, len(message))
    return ""


def _parameters(ask: Ask) -> dict[str, int]:
    found = {"top": ask.top}
    if ask.deadline_s is not None:
        found["timeout"] = max(1, round(ask.deadline_s * 1e6))
    if ask.priority != "normal":
        found["priority"] = OIP_PRIORITIES[ask.priority]
    return found


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    return value, at


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)
