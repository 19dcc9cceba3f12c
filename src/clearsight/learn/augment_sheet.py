"""A sheet of training pictures as they are and as the network sees them."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from clearsight.core.files import write_bytes
from clearsight.core.nouns import ImageHWC
from clearsight.core.seeds import derive_seed, generator
from clearsight.learn.augment import Augment, Chain
from clearsight.learn.family import Job
from clearsight.learn.mixes import Mix

PICTURES, MIXED_ROWS = 8, 2
TIMES = ("the first time", "the second time", "the third time")
TILE_PIXELS, GAP_PIXELS = 112, 8
EVEN_SHARES = (0.25, 0.75)  # a mix is shown where both pictures can be seen
DRAWS = 50


def write_sheet(job: Job, augment: Augment | None, mix: Mix | None) -> dict[str, Any] | None:
    """Write a picture into `job.work` and return what the story tells about it.

    Args:
        job: gives the training pictures; its seed chooses them.
        augment, mix: as the trainer applies them.

    Returns:
        {"changes": [{"name", "options"}], "mix": {"name", "options"} or None,
        "reasons": [{"allowed", "reason"}], "rows": [text], "sheet": file name}, or None when
        pictures are not changed (no file then).
    """
    if augment is None and mix is None:
        return None
    numbers = _chosen(job)
    plain = torch.from_numpy(np.array(job.train_images[numbers]))
    rows = [("as they are", plain)]
    changed = plain
    for epoch, time in enumerate(TIMES if augment is not None else ()):
        assert augment is not None
        random = torch.Generator().manual_seed(derive_seed(job.seed, "sheet", epoch))
        changed = augment(plain, torch.from_numpy(numbers), epoch, random)
        rows.append((time, changed))
    for number in range(MIXED_ROWS if mix is not None else 0):
        assert mix is not None
        rows.append(_mixed(changed, mix, job.seed, number))
    job.work.mkdir(parents=True, exist_ok=True)
    content = _png([images for _, images in rows])
    name = f"sheet-{hashlib.sha256(content).hexdigest()[:16]}.png"
    write_bytes(job.work / name, content)
    return {
        "changes": [_told(step) for step in _steps(augment)],
        "mix": _told(mix) if mix is not None else None,
        "reasons": [asdict(verdict) for verdict in getattr(augment, "reasons", ())],
        "rows": [title for title, _ in rows],
        "sheet": name,
    }


def _chosen(job: Job) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the numbers of a few training pictures, of as many labels as possible."""
    order = generator(job.seed, "sheet").permutation(len(job.train_labels))
    labels = job.train_labels[order]
    _, kind = np.unique(labels, axis=0, return_inverse=True)
    turn = np.zeros(len(order), np.int64)  # first pictures of a label come before second ones
    seen: dict[int, int] = {}
    for place, label in enumerate(kind.ravel().tolist()):
        turn[place] = seen.get(label, 0)
        seen[label] = seen.get(label, 0) + 1
    return np.sort(order[np.argsort(turn, kind="stable")[:PICTURES]]).astype(np.int64)


def _mixed(images: Tensor, mix: Mix, seed: int, number: int) -> tuple[str, Tensor]:
    """Return a row of mixed pictures, of a draw that lets both pictures be seen where one does."""
    low, high = EVEN_SHARES
    for draw in range(DRAWS):
        random = torch.Generator().manual_seed(derive_seed(seed, "sheet mix", number, draw))
        mixed = mix(images, random)
        moved = bool((mixed.partners != torch.arange(len(images))).any())
        if low <= mixed.share <= high and (moved or len(images) == 1):
            break
    return f"mixed, {100 * mixed.share:.0f} % own", mixed.images_nhwc


def _steps(augment: Augment | None) -> list[Any]:
    if augment is None:
        return []
    return list(augment.steps) if isinstance(augment, Chain) else [augment]


def _told(change: Any) -> dict[str, Any]:
    """Return a change's key and options."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(change).__name__).lower()
    config = getattr(change, "config", None)
    return {"name": name, "options": config.model_dump(mode="json") if config is not None else {}}


def _png(rows: list[Tensor]) -> bytes:
    """Return a grid of equal tiles with transparent gaps."""
    from PIL import Image

    tiles = [[_tile(picture.numpy()) for picture in row] for row in rows]
    height, width = tiles[0][0].shape[:2]
    down, across = height + GAP_PIXELS, width + GAP_PIXELS
    sheet = np.zeros((len(tiles) * down - GAP_PIXELS, len(tiles[0]) * across - GAP_PIXELS, 4))
    sheet = sheet.astype(np.uint8)
    for y, row in enumerate(tiles):
        for x, tile in enumerate(row):
            place = sheet[y * down : y * down + height, x * across : x * across + width]
            place[..., :3], place[..., 3] = tile, 255
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _tile(image_hwc: ImageHWC) -> ImageHWC:
    """Return a picture about as large as a tile: small ones in whole blocks, large ones shrunk."""
    height, width = image_hwc.shape[:2]
    blocks = TILE_PIXELS // max(height, width)
    if blocks >= 1:
        return np.repeat(np.repeat(image_hwc, blocks, axis=0), blocks, axis=1)
    scale = TILE_PIXELS / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image_hwc, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small.reshape(size[1], size[0], -1), dtype=np.uint8)
