"""What an engine is: it opens ONNX bytes and gives a Session."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import BundleError, UsageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.core.registry import Registry
from clearsight.engines.onnx_file import OnnxFile

Outputs = dict[str, NDArray[np.float32]]

ENGINES = Registry(
    "clearsight.engines",
    "engine",
    not_keys=frozenset({"golden", "onnx-file", "open", "predictor", "session"}),
)


class Session(Protocol):
    """A model that is ready to run. Thread-safe; the input is never modified."""

    @property
    def engine(self) -> str:
        """Key of the engine that runs it."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of every output that can be asked for."""

    def run(self, images_nhwc: ImagesNHWC, outputs: Sequence[str] = ("logits",)) -> Outputs:
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

    def open(self, model: bytes, threads: int) -> Session:
        """Open an ONNX model (uint8 NHWC pictures in).

        Args:
            model: the ONNX file's bytes, without external data or custom operators.
            threads: CPU threads that work on one call; calls from several threads run side by
                side, each with that many, up to the number of cores.

        Raises:
            BundleError: the bytes are no model this engine runs, or not safe to load.
        """


Run = Callable[[ImagesNHWC], Sequence[NDArray[Any]]]
Compile = Callable[[bytes, Sequence[str]], Run]


class ModelSession:
    """A Session over an engine's compile function; compiles each set of outputs on first use.

    Args:
        engine: key of the engine.
        model: the ONNX file's bytes.
        compile_model: turns ONNX bytes and its output names into a thread-safe function from
            C-contiguous pictures to one array an output.

    Raises:
        BundleError: the bytes are no model this engine runs, or not safe to load.
    """

    def __init__(self, engine: str, model: bytes, compile_model: Compile) -> None:
        self.engine = engine
        self._file = OnnxFile(model)
        self._compile_model = compile_model
        self._compiled: dict[tuple[str, ...], Run] = {}
        self._lock = threading.Lock()
        self._get(("logits",) if "logits" in self.outputs else self.outputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of every output that can be asked for."""
        return self._file.outputs

    def run(self, images_nhwc: ImagesNHWC, outputs: Sequence[str] = ("logits",)) -> Outputs:
        """Run a batch; see `Session.run`."""
        self._check_input(images_nhwc)
        names = tuple(sorted(set(outputs)))
        run = self._get(names)
        try:
            arrays = run(np.ascontiguousarray(images_nhwc))
        except Exception as error:  # each engine has exception types of its own
            raise BundleError(f"{self.engine} failed to run the model: {error}") from error
        results = {
            name: np.asarray(array, dtype=np.float32)
            for name, array in zip(names, arrays, strict=True)
        }
        for name, array in results.items():
            if array.ndim == 0 or len(array) != len(images_nhwc):
                raise BundleError(
                    f"The model's output {name!r} has shape {array.shape} for "
                    f"{len(images_nhwc)} pictures; its first axis must be the batch."
                )
        return results

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
        wanted = (None, *self._file.input.shape[1:])
        fits = images.ndim == 4 and all(
            size in (None, got) for size, got in zip(wanted, images.shape, strict=True)
        )
        if images.dtype != np.uint8 or not fits or len(images) == 0:
            shape = ", ".join("any" if size is None else str(size) for size in wanted[1:])
            raise UsageError(
                f"The model takes uint8 pictures of shape (n >= 1, {shape}); got "
                f"{images.dtype} {images.shape}. Prepare pictures with the Bundle's preprocessing."
            )


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
