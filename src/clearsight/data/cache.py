"""Prepared pixels on disk, mapped into memory: the second epoch costs no decoding."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray

from clearsight.core.errors import ImageError, StorageError
from clearsight.core.files import (
    new_folder,
    read_json,
    remove_litter,
    storage_errors,
    write_json,
)
from clearsight.core.nouns import ImageHWC, ImagesNHWC, Preprocessing
from clearsight.core.progress import Progress, Silent
from clearsight.data import decode, preprocess
from clearsight.data.dataset import Dataset
from clearsight.data.fingerprint import fingerprint
from clearsight.data.gate import Quarantined
from clearsight.data.source import ArraySource

_CHUNK = 32


@dataclass(frozen=True)
class PixelCache:
    """Every usable picture of a data set, prepared.

    Args:
        images: (n, height, width, channels) uint8, mapped from disk (or in memory for IDX).
        labels: what is to be learnt, see `Dataset.targets`.
        kept: (n,) int64, the index in the data set's samples of each row.
        quarantined: pictures that turned out not to be decodable.
    """

    images: ImagesNHWC
    labels: NDArray[np.int64]
    kept: NDArray[np.int64]
    quarantined: tuple[Quarantined, ...]

    def take(self, rows: NDArray[np.int64]) -> PixelCache:
        """Return only these rows (m,) int64, ascending; the quarantine stays."""
        return PixelCache(self.images[rows], self.labels[rows], self.kept[rows], self.quarantined)


def build_cache(
    dataset: Dataset,
    preprocessing: Preprocessing,
    folder: Path,
    progress: Progress | None = None,
    threads: int | None = None,
) -> PixelCache:
    """Decode and prepare every picture once, or map what an earlier call has written.

    Pictures that cannot be decoded are quarantined and left out. A cache that was not finished
    is not used. IDX pictures that already have the right size need no file at all.

    Args:
        dataset: the pictures.
        preprocessing: the model's input.
        folder: where caches lie; made when missing.
        progress: told the number of pictures done.
        threads: decoding threads; all cores when None.

    Raises:
        StorageError: the disk is full or not writable.
    """
    progress = progress or Silent()
    if _is_ready(dataset, preprocessing):
        return _from_array(dataset, preprocessing)
    key = _key(dataset, preprocessing)
    place = folder / key
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_litter(folder)
    shape = (len(dataset), preprocessing.height, preprocessing.width, preprocessing.channels)
    if not _is_complete(place):
        if place.exists():
            shutil.rmtree(place)
        _require_space(folder, int(np.prod(shape)))
        with new_folder(place) as temporary:
            _write(dataset, preprocessing, temporary, shape, progress, threads)
    return _open(dataset, place)


def prepare_all(
    dataset: Dataset,
    preprocessing: Preprocessing | None,
    threads: int | None = None,
) -> Iterator[ImageHWC | ImageError]:
    """Decode every picture, in order, in threads; errors are yielded, not raised.

    Args:
        dataset: the pictures.
        preprocessing: the size to bring them to; None yields an empty array for each picture
            that can be decoded.
        threads: decoding threads; all cores when None.
    """

    def work(indices: range) -> list[ImageHWC | ImageError]:
        return [_prepare(dataset, index, preprocessing) for index in indices]

    n_threads = threads or os.cpu_count() or 1
    starts = iter(range(0, len(dataset), _CHUNK))
    chunks = (range(start, min(start + _CHUNK, len(dataset))) for start in starts)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="clearsight-decode")
    with _one_thread_in_opencv():
        try:
            waiting: list[Future[list[ImageHWC | ImageError]]] = [
                pool.submit(work, chunk) for chunk in islice(chunks, 2 * n_threads)
            ]
            while waiting:
                done = waiting.pop(0).result()
                waiting += [pool.submit(work, chunk) for chunk in islice(chunks, 1)]
                yield from done
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare(
    dataset: Dataset, index: int, preprocessing: Preprocessing | None
) -> ImageHWC | ImageError:
    try:
        if preprocessing is None:
            dataset.image(index)
            return np.empty((0, 0, 3), np.uint8)
        if isinstance(dataset.source, ArraySource):
            return preprocess.prepare(dataset.image(index), preprocessing)
        limits = dataset.source.limits
        return preprocess.prepare_encoded(dataset.encoded(index), preprocessing, limits)
    except ImageError as error:
        return error


def _write(
    dataset: Dataset,
    preprocessing: Preprocessing,
    folder: Path,
    shape: tuple[int, int, int, int],
    progress: Progress,
    threads: int | None,
) -> None:
    kept: list[int] = []
    quarantined: list[Quarantined] = []
    progress.start("decode", len(dataset), "images")
    with open(folder / "images.npy", "wb") as stream:
        begin = _write_header(stream, shape)
        for index, result in enumerate(prepare_all(dataset, preprocessing, threads)):
            if isinstance(result, ImageError):
                name = dataset.samples[index].name
                quarantined.append(Quarantined(name, result.reason, result.detail))
            else:
                stream.write(result.data)
                kept.append(index)
            progress.advance(1)
        stream.seek(0)
        if _write_header(stream, (len(kept), *shape[1:])) != begin:
            raise StorageError(f"{folder}: the cache's header changed its length.")
    progress.finish()
    np.save(folder / "kept.npy", np.array(kept, np.int64), allow_pickle=False)
    bad = [[item.name, item.reason, item.detail] for item in quarantined]
    write_json(folder / "index.json", {"n": len(kept), "quarantined": bad})


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> int:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.tell()


def _is_complete(place: Path) -> bool:
    """Folders get their name only when finished; this guards against later damage."""
    try:
        index = read_json(place / "index.json")
        images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        kept = np.load(place / "kept.npy", allow_pickle=False)
        return bool(len(images) == len(kept) == index["n"])
    except (StorageError, OSError, ValueError, KeyError, TypeError):
        return False


def _open(dataset: Dataset, place: Path) -> PixelCache:
    with storage_errors(place):
        kept: NDArray[np.int64] = np.load(place / "kept.npy", allow_pickle=False)
        if len(kept):
            images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        else:  # an empty file cannot be mapped
            images = np.load(place / "images.npy", allow_pickle=False)
    labels = dataset.targets(kept.tolist())
    bad = tuple(Quarantined(*item) for item in read_json(place / "index.json")["quarantined"])
    return PixelCache(images, labels, kept, bad)


def _is_ready(dataset: Dataset, preprocessing: Preprocessing) -> bool:
    """Whether the raw arrays are the model's input already, but for grey against colour."""
    source = dataset.source
    size = (preprocessing.height, preprocessing.width)
    return isinstance(source, ArraySource) and all(
        array.shape[1:3] == size and (array.ndim == 3 or preprocessing.channels == 3)
        for array in source.arrays.values()
    )


def _from_array(dataset: Dataset, preprocessing: Preprocessing) -> PixelCache:
    source = dataset.source
    assert isinstance(source, ArraySource)
    n = len(dataset)
    images = np.empty(
        (n, preprocessing.height, preprocessing.width, preprocessing.channels), np.uint8
    )
    places = [source.locate(sample.name) for sample in dataset.samples]
    for name, array in source.arrays.items():
        rows = [row for row, place in enumerate(places) if place[0] == name]
        if rows:
            pixels = array[[places[row][1] for row in rows]]
            images[rows] = pixels[:, :, :, None] if pixels.ndim == 3 else pixels
    return PixelCache(images, dataset.targets(), np.arange(n, dtype=np.int64), ())


def _key(dataset: Dataset, preprocessing: Preprocessing) -> str:
    """Name a cache by everything that its pixels depend on."""
    text = "\n".join(
        [
            fingerprint(dataset),
            preprocessing.model_dump_json(),
            f"{decode.VERSION} {preprocess.VERSION}",
            f"{simplejpeg.__version__} {PIL.__version__} {cv2.__version__}",
            *(sample.name for sample in dataset.samples),
        ]
    )
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def _require_space(folder: Path, needed: int) -> None:
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{folder}: the prepared pictures need {needed / 1e9:.2f} GB, but only "
            f"{free / 1e9:.2f} GB are free. Free some space and run the same command again."
        )


@contextmanager
def _one_thread_in_opencv() -> Iterator[None]:
    """Keep OpenCV's own threads out of the way of ours, and put the setting back."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
