"""Which engine, which variant and how many pictures at once: measured here, remembered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from clearsight.core.bundle import Bundle, open_bundle
from clearsight.core.errors import BundleError, MissingExtraError, StorageError
from clearsight.core.files import read_json, write_json
from clearsight.core.nouns import ImagesNHWC
from clearsight.core.variants import allowed_variants
from clearsight.engines.compiled import compiled_key, remembered_folder
from clearsight.engines.open import FASTEST, open_predictor
from clearsight.engines.predictor import BundlePredictor
from clearsight.engines.session import cores

MEASURED_S, SLICE_S = 0.3, 0.08  # the best slice counts: other programs only make one slower
PATIENCE_S = 300.0
BATCHES = (8, 32)
PAYS = 1.2  # a larger batch must be this much faster, or its waiting costs p99 more than it brings


@dataclass(frozen=True, slots=True)
class Choice:
    """What was fastest.

    Args:
        engine: key of an engine.
        variant: a variant of the Bundle; "" for the one of full precision.
        batch: pictures that should run together; 1 unless more are faster by a fifth.
        run_s: seconds a picture, on one thread while the other workers are as busy.
    """

    engine: str
    variant: str
    batch: int
    run_s: float


def fastest(
    bundle: Bundle, workers: int, max_drop: float = 0.0, engine: str | None = None
) -> Choice:
    """Measure every engine that is here with every allowed variant, or remember what was measured.

    Args:
        bundle: a verified Bundle.
        workers: threads that will call the model at the same time.
        max_drop: points of accuracy that a variant may have lost on the engine that runs it.
        engine: the only engine to try; every one that is installed where None.

    Returns:
        The pair with the most pictures a second.

    Raises:
        BundleError: no engine here runs the model.
    """
    pairs = _pairs(bundle, (engine,) if engine else FASTEST, max_drop)
    files = sorted(record.sha256 for record in bundle.manifest.files.values())
    told = [(_told(engine), variant) for engine, variant in pairs]
    key = compiled_key("choice", PAYS, workers, *files, *told)
    folder = remembered_folder()
    path = folder / f"{key}.json" if folder else None
    if path is not None:
        try:
            return Choice(**read_json(path))
        except (StorageError, TypeError, OSError, ValueError):
            pass  # nothing remembered, or nothing readable: measure
    choice = _measured_apart(bundle, workers, pairs)
    if choice is None:
        return _unmeasured(bundle, engine)
    if path is not None:
        write_json(path, asdict(choice))
    return choice


def measured(bundle: Bundle, workers: int, pairs: Sequence[tuple[str, str]]) -> Choice | None:
    """Measure pairs of engine and variant here and now; None where none of them runs."""
    found = [choice for pair in pairs for choice in _tried(bundle, *pair, workers)]
    return min(found, key=lambda choice: choice.run_s, default=None)


def _measured_apart(
    bundle: Bundle, workers: int, pairs: Sequence[tuple[str, str]]
) -> Choice | None:
    """Measure in a process of its own: a service keeps no memory of engines it does not use."""
    told = json.dumps([str(bundle.path), workers, pairs])
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, our own module
            [sys.executable, "-m", "clearsight.engines.fastest", told],
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
        return Choice(**json.loads(done.stdout))
    except (subprocess.SubprocessError, OSError, ValueError, TypeError):
        return None


def _pairs(bundle: Bundle, engines: Sequence[str], max_drop: float) -> list[tuple[str, str]]:
    """Return every engine with full precision and with each variant it may run."""
    pairs = [(engine, "") for engine in engines]
    for key in allowed_variants(bundle.manifest, max_drop):
        allowed = bundle.manifest.variants[key].allowed_engines(max_drop)
        pairs += [(engine, key) for engine in engines if engine in allowed]
    return pairs


def _tried(bundle: Bundle, engine: str, variant: str, workers: int) -> list[Choice]:
    try:
        predictor = open_predictor(bundle, engine, threads=1, variant=variant or None)
    except (BundleError, MissingExtraError):
        return []
    shape = predictor.preprocessing
    image = np.zeros((1, shape.height, shape.width, shape.channels), np.uint8)
    best = Choice(engine, variant, 1, _seconds(predictor, image, workers))
    for batch in BATCHES:
        seconds = _seconds(predictor, np.repeat(image, batch, 0), workers)
        if seconds * PAYS > best.run_s:
            break
        best = Choice(engine, variant, batch, seconds)
    return [best]


def _unmeasured(bundle: Bundle, engine: str | None) -> Choice:
    """Let the engine say itself why it cannot run the model."""
    return Choice(open_predictor(bundle, engine, threads=1).engine, "", 1, 0.0)


def _seconds(predictor: BundlePredictor, images: ImagesNHWC, workers: int) -> float:
    """Return the seconds that one picture takes a worker while all of them run.

    Worked out from processor time, which other programs hardly change: a choice that is made
    beside a busy service is remembered, too.
    """
    predictor.probabilities(images)  # compiles on first use
    ends = time.monotonic() + MEASURED_S
    best = _slice_s(predictor, images, workers)
    while time.monotonic() < ends:
        best = min(best, _slice_s(predictor, images, workers))
    return best * max(1.0, workers / cores())


def _slice_s(predictor: BundlePredictor, images: ImagesNHWC, workers: int) -> float:
    """Return the processor seconds of one picture."""
    counts = [0] * workers
    ends = time.monotonic() + SLICE_S

    def work(index: int) -> None:
        while time.monotonic() < ends:
            predictor.probabilities(images)
            counts[index] += len(images)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(workers)]
    started = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - started) / max(1, sum(counts))


def _told(engine: str) -> str:
    try:
        return f"{engine} {version(engine)}"
    except PackageNotFoundError:
        return engine


def _main() -> None:
    if hasattr(os, "nice"):
        os.nice(10)  # a service may be answering beside it
    path, workers, pairs = json.loads(sys.argv[1])
    choice = measured(open_bundle(Path(path)), workers, [(e, v) for e, v in pairs])
    if choice is None:
        raise SystemExit(1)
    json.dump(asdict(choice), sys.stdout)


if __name__ == "__main__":
    _main()
