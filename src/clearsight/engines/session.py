"""What an engine is: it opens ONNX bytes and gives a Session."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import BundleError, UsageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.core.registry import Registry
from clearsight.engines.onnx_file import OnnxFile

Outputs = dict[str, NDArray[np.float32]]
Compute = Literal["fp32", "fp16", "bf16"]
LOGITS = ("logits",)

ENGINES = Registry(
    "clearsight.engines",
    "engine",
    not_keys=frozenset(
        {
            "compiled",
            "fastest",
            "golden",
            "mirrored",
            "onnx-file",
            "open",
            "predictor",
            "session",
            "torch-live",
        }
    ),
)


class Session(Protocol):
    """A model that is ready to run. Thread-safe; the input is never modified."""

    @property
    def engine(self) -> str:
        """Key of the engine that runs it."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of every output that can be asked for."""

    def run(self, images_nhwc: ImagesNHWC, outputs: Sequence[str] = LOGITS) -> Outputs:
        """Run a batch; a batch of n gives what n batches of one give.

        Args:
            images_nhwc: (n, h, w, c) uint8, n >= 1.
            outputs: what to compute; only that is compiled, on first use.

        Returns:
            One float32 array a name, first axis n.

        Raises:
            UsageError: wrong dtype or shape, or an output the model does not have.
            BundleError: the engine cannot compile or run the model.
        """


class Engine(Protocol):
    """Opens models. Constructed without arguments."""

    def open(
        self,
        model: bytes,
        threads: int,
        compute: Compute = "fp32",
        outputs: Sequence[str] = LOGITS,
    ) -> Session:
        """Open an ONNX model (uint8 NHWC pictures in).

        Args:
            model: the ONNX file's bytes, without external data or custom operators.
            threads: how many CPU threads share the pictures of one call, each taking whole
                pictures; calls from several threads run side by side.
            compute: what fp32 operators may be computed in; an engine (or a processor) that
                cannot compute in 16 bits computes in fp32.
            outputs: what will be asked for together nearly always; that is compiled at once.

        Raises:
            BundleError: the bytes are no model this engine runs, or not safe to load.
        """


Run = Callable[[ImagesNHWC], Sequence[NDArray[Any]]]
Compile = Callable[[bytes, Sequence[str]], Run]

PIECE_PIXELS = 64 * 1024
PIECE_IMAGES = 64


class ModelSession:
    """A Session over an engine's compile function; compiles each set of outputs on first use.

    Every piece of work runs on one thread, and a batch is cut into pieces that run side by side:
    measured faster than threads inside the operators (see benchmarks/engines), and what a picture
    gives then does not depend on the number of threads.

    Args:
        engine: key of the engine.
        model: the ONNX file's bytes.
        compile_model: turns ONNX bytes and its output names into a thread-safe function from
            C-contiguous pictures to one array an output, running on one thread.
        threads: how many pieces of one call run at once.
        outputs: what is compiled at once, see `Engine.open`; every output where the model lacks
            one of them.

    Raises:
        BundleError: the bytes are no model this engine runs, or not safe to load.
    """

    def __init__(
        self,
        engine: str,
        model: bytes,
        compile_model: Compile,
        threads: int = 1,
        outputs: Sequence[str] = LOGITS,
    ) -> None:
        self.engine = engine
        self._file = OnnxFile(model)
        self._compile_model = compile_model
        self._compiled: dict[tuple[str, ...], Run] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "clearsight-engine") if threads > 1 else None
        first = outputs if set(outputs) <= set(self.outputs) else self.outputs
        self._get(tuple(sorted(set(first))))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of every output that can be asked for."""
        return self._file.outputs

    def run(self, images_nhwc: ImagesNHWC, outputs: Sequence[str] = LOGITS) -> Outputs:
        """Run a batch; see `Session.run`."""
        self._check_input(images_nhwc)
        names = tuple(sorted(set(outputs)))
        run = self._get(names)
        pieces = _pieces(images_nhwc)
        try:
            if self._pool is None or len(pieces) == 1:
                rows = [run(piece) for piece in pieces]
            else:
                rows = list(self._pool.map(run, pieces))
        except Exception as error:  # each engine has exception types of its own
            raise BundleError(f"{self.engine} failed to run the model: {error}") from error
        return {
            name: _joined(name, pieces, [row[index] for row in rows])
            for index, name in enumerate(names)
        }

    def _get(self, names: tuple[str, ...]) -> Run:
        run = self._compiled.get(names)
        if run is not None:
            return run
        if not names:
            raise UsageError(f"No outputs were asked for. Allowed: {', '.join(self.outputs)}.")
        with self._lock:
            if names not in self._compiled:
                part = self._file.select(names)
                try:
                    self._compiled[names] = self._compile_model(part, names)
                except Exception as error:  # each engine has exception types of its own
                    raise BundleError(
                        f"{self.engine} cannot load the model: {error}. Try another engine, or "
                        "restore the Bundle from its source."
                    ) from error
            return self._compiled[names]

    def _check_input(self, images: ImagesNHWC) -> None:
        wanted = self._file.input.shape[1:]
        fits = images.ndim == 4 and all(
            size in (None, got) for size, got in zip(wanted, images.shape[1:], strict=True)
        )
        if images.dtype != np.uint8 or not fits or len(images) == 0:
            shape = ", ".join("any" if size is None else str(size) for size in wanted)
            raise UsageError(
                f"The model takes uint8 pictures of shape (n >= 1, {shape}); got "
                f"{images.dtype} {images.shape}. Prepare pictures with the Bundle's preprocessing."
            )


def _pieces(images: ImagesNHWC) -> list[ImagesNHWC]:
    """Cut a batch into C-contiguous pieces of about PIECE_PIXELS pixels."""
    _, height, width, _ = images.shape
    size = min(PIECE_IMAGES, max(1, PIECE_PIXELS // max(1, height * width)))
    return [np.ascontiguousarray(images[i : i + size]) for i in range(0, len(images), size)]


def _joined(name: str, pieces: list[ImagesNHWC], arrays: list[NDArray[Any]]) -> NDArray[np.float32]:
    for piece, array in zip(pieces, arrays, strict=True):
        if array.ndim == 0 or len(array) != len(piece):
            raise BundleError(
                f"The model's output {name!r} has shape {array.shape} for {len(piece)} "
                "pictures; its first axis must be the batch."
            )
    if len(arrays) == 1:
        return np.asarray(arrays[0], dtype=np.float32)
    return np.concatenate(arrays).astype(np.float32, copy=False)


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
