"""Runs a model over many pictures once and keeps what it gives, resumable after a kill."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import StorageError
from clearsight.core.files import read_json, storage_errors, write_json
from clearsight.core.nouns import ImagesNHWC
from clearsight.core.progress import Progress
from clearsight.core.seeds import generator
from clearsight.learn.family import Job, OnnxRunner
from clearsight.learn.onnx_graph import EMBEDDING

BATCH_BYTES = 8 * 1024 * 1024
SAVE_EVERY_S = 5.0
TIMED_PICTURES, TIMED_S = 256, 0.5
FEWEST_PER_CLASS = 20


@dataclass(frozen=True)
class Extraction:
    """Features of some pictures.

    Args:
        features: (n, d) float32, memory-mapped.
        computed: how many of them were computed now; the rest was found in the folder.
        seconds: what that took.
    """

    features: NDArray[np.float32]
    computed: int
    seconds: float


def extract(
    runner: OnnxRunner,
    model: bytes,
    images: ImagesNHWC,
    rows: NDArray[np.int64],
    folder: Path,
    name: str,
    progress: Progress,
) -> Extraction:
    """Return the model's "embedding" of pictures, going on from what `folder` holds.

    Args:
        runner: `model`, opened.
        model: the ONNX bytes, to know features of another model from these.
        images: (n, h, w, c) uint8, possibly memory-mapped.
        rows: which of them, ascending.
        folder: where features are kept.
        name: what to call them, for example "train".

    Raises:
        StorageError: the features cannot be written.
    """
    began = time.monotonic()
    batch = max(1, BATCH_BYTES // max(1, images[0].nbytes))
    key = _key(model, images, rows)
    first = runner.run(_take(images, rows[:1]), (EMBEDDING,))[EMBEDDING]
    features, done = _open(folder, f"{name}-{key}", (len(rows), first.shape[1]))
    found, saved = done, time.monotonic()
    progress.start(f"features of {name}", len(rows), "images")
    progress.advance(done)
    while done < len(rows):
        part = _take(images, rows[done : done + batch])
        features[done : done + len(part)] = runner.run(part, (EMBEDDING,))[EMBEDDING]
        done += len(part)
        progress.advance(len(part))
        if done == len(rows) or time.monotonic() - saved > SAVE_EVERY_S:
            _save(features, folder / f"{name}-{key}.json", done)
            saved = time.monotonic()
    progress.finish()
    return Extraction(features, len(rows) - found, time.monotonic() - began)


def affordable(
    runner: OnnxRunner,
    job: Job,
    sizes: tuple[int, int],
    kept: float,
    timed: int = TIMED_PICTURES,
    fewest_per_class: int = FEWEST_PER_CLASS,
) -> tuple[int, int]:
    """Return how many training and validation pictures' features the time allows.

    The rate is measured; what was decided is noted in `job.work`, so that a resumed training
    decides the same.

    Args:
        runner: computes the features.
        sizes: how many there are to take from.
        kept: part of the time left that is not for features.
        timed: pictures of one timed batch.
        fewest_per_class: pictures a class that are taken in any case.
    """
    note = job.work / "pictures.json"
    try:
        train, val = (int(size) for size in read_json(note))
        return min(train, sizes[0]), min(val, sizes[1])
    except (StorageError, TypeError, ValueError):
        pass  # nothing decided yet
    used = _affordable(runner, job, sizes, kept, timed, fewest_per_class)
    with storage_errors(note):
        job.work.mkdir(parents=True, exist_ok=True)
    write_json(note, list(used))
    return used


def _affordable(
    runner: OnnxRunner,
    job: Job,
    sizes: tuple[int, int],
    kept: float,
    timed: int,
    fewest_per_class: int,
) -> tuple[int, int]:
    if job.budget.deadline is None:
        return sizes
    part_of_them = job.train_images[:timed]
    runner.run(part_of_them, (EMBEDDING,))  # compiles
    limit_s = min(TIMED_S, 0.05 * job.budget.remaining_s())
    began, done = time.monotonic(), 0
    while time.monotonic() - began < limit_s or not done:
        done += len(runner.run(part_of_them, (EMBEDDING,))[EMBEDDING])
    rate = done / (time.monotonic() - began)
    part = rate * job.budget.remaining_s() * (1 - kept) / sum(sizes)
    fewest = fewest_per_class * len(job.classes)
    train, val = (size if part >= 1 else min(size, max(fewest, int(part * size))) for size in sizes)
    return train, val


def subsample(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Return at most `size` row numbers, ascending, rare classes kept whole as far as possible."""
    if size >= len(labels):
        return np.arange(len(labels))
    order = generator(seed, "subsample").permutation(len(labels))
    sorted_labels = labels[order]
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(sorted_labels == label)
        turn[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turn, kind="stable")[:size]])


def _take(images: ImagesNHWC, rows: NDArray[np.int64]) -> ImagesNHWC:
    """Consecutive rows without a copy, so that reading happens where the model runs."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return images[int(rows[0]) : int(rows[-1]) + 1]
    return images[rows]


def _key(model: bytes, images: ImagesNHWC, rows: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(model)
    digest.update(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(rows).tobytes())
    for row in np.linspace(0, len(images) - 1, min(16, len(images)), dtype=np.int64):
        digest.update(np.ascontiguousarray(images[row]).tobytes())
    return digest.hexdigest()[:16]


def _open(folder: Path, stem: str, shape: tuple[int, int]) -> tuple[NDArray[np.float32], int]:
    """Open the array of an interrupted run, or a new one; also how many rows are in it."""
    path, mark = folder / f"{stem}.npy", folder / f"{stem}.json"
    try:
        done = int(read_json(mark)["done"])
        array = np.lib.format.open_memmap(path, mode="r+")
        if array.shape == shape and array.dtype == np.float32 and 0 <= done <= shape[0]:
            return array, done
    except (StorageError, OSError, ValueError, KeyError, TypeError):
        pass  # nothing usable from before: start over
    with storage_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        mark.unlink(missing_ok=True)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk must fail here, not as SIGBUS on writing
            with open(path, "r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        return array, 0


def _save(features: NDArray[np.float32], mark: Path, done: int) -> None:
    with storage_errors(mark):
        if isinstance(features, np.memmap):
            features.flush()
    write_json(mark, {"done": done})
