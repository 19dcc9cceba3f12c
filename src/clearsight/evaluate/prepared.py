"""Pictures made ready for a recognizer: decoded by threads a few batches ahead, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from clearsight.core.errors import ImageError
from clearsight.core.nouns import ImageHWC, Predictor

BATCH_BYTES = 16 * 1024 * 1024
BATCH_IMAGES = 256
THREADS = 4

Batch = list[tuple[int, ImageHWC | ImageError]]


def prepared(predictor: Predictor, encoded: Callable[[int], bytes], count: int) -> Iterator[Batch]:
    """Yield batches of (index, picture); one that cannot be used is its ImageError.

    Args:
        predictor: prepares the pictures.
        encoded: returns the bytes of picture `index`; called from several threads.
        count: how many there are.
    """
    shape = predictor.preprocessing
    fitting = BATCH_BYTES // (shape.height * shape.width * shape.channels)
    size = max(1, min(BATCH_IMAGES, fitting))
    threads = min(THREADS, os.cpu_count() or 1)
    waiting: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(threads, "decode") as pool:
        try:
            for start in range(0, count, size):
                part = range(start, min(start + size, count))
                waiting.append(pool.submit(_prepare_all, predictor, encoded, part))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _prepare_all(predictor: Predictor, encoded: Callable[[int], bytes], part: range) -> Batch:
    return [(index, _prepare(predictor, encoded, index)) for index in part]


def _prepare(
    predictor: Predictor, encoded: Callable[[int], bytes], index: int
) -> ImageHWC | ImageError:
    try:
        return predictor.prepare(encoded(index))
    except ImageError as error:
        return error
