"""Checkpoints: tensors and scalars in one safetensors file whose name holds its digest."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from clearsight.core.errors import StorageError
from clearsight.core.files import remove_litter, write_bytes

_NAME = re.compile(r"step-(\d{9})-([0-9a-f]{32})\.safetensors")
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """Everything a training needs to go on.

    Args:
        step: steps done.
        tensors: weights and optimizer state by name.
        state: JSON-ready scalars.
    """

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as one atomic file and drop all but the newest two.

    Raises:
        StorageError: an I/O failure; the checkpoints already there are intact.
    """
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()
    }
    content = save(tensors, metadata={"state": json.dumps(checkpoint.state, allow_nan=False)})
    digest = hashlib.sha256(content).hexdigest()[:32]
    write_bytes(folder / f"step-{checkpoint.step:09d}-{digest}.safetensors", content)
    for _, old in _found(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def read_checkpoint(folder: Path, identity: str) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint of a run and the names of those found damaged.

    Args:
        folder: where checkpoints stand.
        identity: the run's identity; checkpoints of another run are passed over.
    """
    remove_litter(folder)
    damaged = []
    for step, path in _found(folder):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:32] != path.stem.rsplit("-", 1)[1]:
            damaged.append(path.name)
            continue
        try:
            state = json.loads(_metadata(content)["state"])
            tensors = load(content)
        except (SafetensorError, ValueError, KeyError) as error:
            raise StorageError(f"{path} is no checkpoint: {error}. Remove it.") from error
        if state.get("identity") == identity:
            return Checkpoint(step, tensors, state), damaged
    return None, damaged


def remove_checkpoints(folder: Path, since: int = 0) -> None:
    """Remove the checkpoints in a folder that were written after `since` steps or more."""
    for step, path in _found(folder):
        if step >= since:
            path.unlink(missing_ok=True)


def _metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length])["__metadata__"])


def _found(folder: Path) -> list[tuple[int, Path]]:
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(((int(m[1]), path) for m, path in matches if m), reverse=True)
