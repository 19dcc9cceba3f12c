"""Tries one Bundle and says what it found: the program that `promotion` runs beside the service.

One JSON object on stdin: {"bundle", "engine", "memory_bytes", "seconds", "compile"}.
One on stdout: {"refused", "detail"}, or {"latency_ms", "memory_mb", "engine"}.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearsight.core.bundle import Bundle
    from clearsight.engines.predictor import BundlePredictor

NICENESS = 5
WARM_RUNS = 3
ROUNDS = 5
ROUND_S = 0.1
ROUND_RUNS = 100
GRACE_S = 5.0
MB = 10**6
GREEDY = "The model asked for more memory than there was for its trial."


class _RefusedError(Exception):
    """A check failed.

    Args:
        reason: see `promotion.Reason`.
        detail: for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def main() -> None:
    """Read an order from stdin, try the Bundle, answer on stdout."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # an engine that prints does not spoil the answer
    order = json.loads(sys.stdin.read())
    yield_to_others()
    bound(order["memory_bytes"], order["seconds"])
    try:
        found = try_bundle(Path(order["bundle"]), order["engine"])
        if order["compile"]:
            compile_ahead(Path(order["bundle"]), order["engine"])
    except _RefusedError as error:
        found = {"refused": error.reason, "detail": error.detail}
    except MemoryError:
        found = {"refused": "memory", "detail": GREEDY}
    with open(answer_to, "w", encoding="utf-8") as stream:
        json.dump(found, stream)


def yield_to_others() -> None:
    """Step back behind the service: for the processor, and when memory runs out."""
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(OSError):  # Linux may share a busy machine by session, and this is one of its own
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def bound(limit_bytes: int, seconds: float) -> None:
    """Let allocations fail beyond a limit, and end after a time even if nobody waits any more."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever it is doing
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_S)
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def try_bundle(folder: Path, engine: str | None) -> dict[str, Any]:
    """Open, compare, run and time a Bundle.

    Args:
        folder: its folder.
        engine: key of an engine; None takes the fastest.

    Returns:
        latency_ms, memory_mb, engine.

    Raises:
        _RefusedError: a check failed.
    """
    from clearsight.core.bundle import open_bundle
    from clearsight.engines.golden import verify_golden
    from clearsight.engines.open import open_predictor

    with refusing("corrupt"):
        bundle = open_bundle(folder)
    _import_engine(engine)
    before = peak_bytes(forget=True)
    with refusing("unusable"):
        predictor = open_predictor(bundle, engine, threads=1)
    _check_scores(predictor)
    with refusing("golden"):
        verify_golden(predictor)
    latency_s = _latency_s(predictor)
    memory_mb = max(0, peak_bytes() - before) / MB
    _check_variants(bundle, engine)
    return {"latency_ms": latency_s * 1e3, "memory_mb": memory_mb, "engine": predictor.engine}


def compile_ahead(folder: Path, engine: str | None) -> None:
    """Leave compiled models where the user's services look for them: they swap in less time."""
    from clearsight.core.bundle import open_bundle
    from clearsight.core.errors import ClearsightError
    from clearsight.engines.compiled import cache_folder, remember_compiled
    from clearsight.engines.open import FASTEST, open_predictor

    with suppress(ClearsightError, OSError):  # it is only a help
        remember_compiled(cache_folder())
        bundle = open_bundle(folder)
        for key in FASTEST if engine is None else (engine,):
            with suppress(ClearsightError):
                open_predictor(bundle, key, threads=1)


@contextmanager
def refusing(reason: str) -> Iterator[None]:
    """Turn whatever clearsight refuses inside the block into a refusal with a reason."""
    from clearsight.core.errors import ClearsightError

    try:
        yield
    except ClearsightError as error:
        if "allocat" in str(error).lower() or isinstance(error.__cause__, MemoryError):
            raise _RefusedError("memory", GREEDY) from error
        raise _RefusedError(reason, str(error)) from error


def peak_bytes(forget: bool = False) -> int:
    """Return the most memory this process has had resident.

    Args:
        forget: begin anew with what it has now, where the system can.
    """
    if forget:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _import_engine(engine: str | None) -> None:
    """Load an engine's library, so that its memory is not taken for the model's."""
    from clearsight.core.errors import ClearsightError
    from clearsight.engines.open import FASTEST
    from clearsight.engines.session import ENGINES

    for key in FASTEST if engine is None else (engine,):
        with suppress(ClearsightError):
            ENGINES.load(key)


def _check_scores(predictor: BundlePredictor) -> None:
    """Run pictures that a training set may not hold: black, white, noise, one colour."""
    import numpy as np

    from clearsight.engines.predictor import answering_outputs

    asked = predictor.preprocessing
    outputs = answering_outputs(predictor.manifest)
    shape = (asked.height, asked.width, asked.channels)
    images = np.zeros((4, *shape), np.uint8)
    images[1] = 255
    images[2] = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images[3, :, :, 0] = 255
    with refusing("unusable"):
        scores = predictor.session.run(images, outputs)["logits"]
    if scores.shape != (len(images), len(predictor.classes)):
        raise _RefusedError(
            "shape",
            f"The model gives scores of shape {scores.shape} for {len(images)} pictures and "
            f"{len(predictor.classes)} classes.",
        )
    if not np.isfinite(scores).all():
        raise _RefusedError("nan", "The model gives NaN or infinity for plain pictures.")


def _check_variants(bundle: Bundle, engine: str | None) -> None:
    """Open and compare the variants of lower precision that a service here may choose."""
    from clearsight.engines.golden import verify_golden
    from clearsight.engines.open import capabilities, open_predictor

    usable = {state.engine for state in capabilities() if state.usable}
    for key, variant in bundle.manifest.variants.items():
        for name in variant.engines:
            if name in usable and engine in (None, name):
                with refusing("unusable"):
                    predictor = open_predictor(bundle, name, threads=1, variant=key)
                _check_scores(predictor)
                with refusing("golden"):
                    verify_golden(predictor)


def _latency_s(predictor: BundlePredictor) -> float:
    """Return the CPU seconds for one golden picture, from its bytes to its labels.

    CPU time and not the clock's: it stays the same while a busy service shares the machine. The
    lowest of some rounds counts, because whatever disturbs only ever adds.
    """
    from clearsight.core.bundle import GOLDEN_SCORES

    bundle = predictor.bundle
    names = json.loads(bundle.read(GOLDEN_SCORES))["images"]
    pictures = [bundle.read(name) for name in names]

    def a_round(runs: int) -> float:
        started, done = time.process_time(), 0
        while done < runs and time.process_time() - started < ROUND_S:
            with refusing("nan"):
                predictor.recognize(pictures[done % len(pictures)])
            done += 1
        return (time.process_time() - started) / done

    a_round(WARM_RUNS)
    return min(a_round(ROUND_RUNS) for _ in range(ROUNDS))


if __name__ == "__main__":
    main()
