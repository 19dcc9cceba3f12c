"""OpenVINO on CPU: the fastest steady state on x86; half a second slower to start."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.imports import without
from clearsight.core.nouns import ImagesNHWC
from clearsight.engines.compiled import compiled_key, keep_compiled, read_compiled
from clearsight.engines.session import LOGITS, Compute, ModelSession, Run, Session, cores

with without("openvino.tools.ovc"):  # its converter of models: a tenth of a second, for nothing
    import openvino

# OpenVINO fetches NumPy's C interface on first use, and two threads that do it at once wait for
# each other for ever; here the import lock lets one thread do it.
openvino.Type.u8.to_dtype()

HINTS: dict[Compute, str] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


class Openvino:
    """Opens models with OpenVINO."""

    def open(
        self,
        model: bytes,
        threads: int,
        compute: Compute = "fp32",
        outputs: Sequence[str] = LOGITS,
    ) -> Session:
        """Open an ONNX model; see `Engine.open`."""
        make = partial(_compile, hint=HINTS[compute])
        return ModelSession("openvino", model, make, threads, outputs)


def _compile(model: bytes, outputs: Sequence[str], hint: str) -> Run:
    """Compile for one picture at once; for pieces of several when the first one comes."""
    single = _Compiled(model, outputs, batch=1, hint=hint)
    lock = threading.Lock()
    several: list[_Compiled] = []

    def run(images_nhwc: ImagesNHWC) -> list[NDArray[Any]]:
        if len(images_nhwc) == 1:
            return single.run(images_nhwc)
        with lock:
            if not several:
                several.append(_Compiled(model, outputs, batch=-1, hint=hint))
        return several[0].run(images_nhwc)

    return run


class _Compiled:
    """A compiled model with as many one-thread streams as cores, and a pool of requests."""

    def __init__(self, model: bytes, outputs: Sequence[str], batch: int, hint: str) -> None:
        streams = str(cores())
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
        }
        self._model = _compiled(model, batch, settings)
        self._ports = [self._model.output(name) for name in outputs]
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def run(self, images_nhwc: ImagesNHWC) -> list[NDArray[Any]]:
        with self._lock:
            request = self._idle.pop() if self._idle else None
        if request is None:
            request = self._model.create_infer_request()
        request.infer([images_nhwc], share_inputs=True)
        results = [np.array(request.get_tensor(port).data) for port in self._ports]
        with self._lock:
            self._idle.append(request)
        return results


def _compiled(model: bytes, batch: int, settings: dict[str, str]) -> Any:
    """Compile a model, or take what was compiled before; see `compiled.py`."""
    digest = hashlib.sha256(model).hexdigest()
    key = compiled_key(openvino.get_version(), digest, batch, sorted(settings.items()))
    blob = read_compiled(key)
    if blob is not None:
        try:
            return _core().import_model(io.BytesIO(blob), "CPU", settings)
        except RuntimeError:
            pass  # of another build of OpenVINO after all: compile it anew
    network = _core().read_model(model=model, weights=b"")
    shape = network.input(0).get_partial_shape()
    shape[0] = batch
    network.reshape(shape)
    compiled = _core().compile_model(network, "CPU", settings)
    keep_compiled(key, lambda: _exported(compiled))
    return compiled


def _exported(compiled: Any) -> bytes:
    stream = io.BytesIO()
    compiled.export_model(stream)
    return stream.getvalue()


@cache
def _core() -> Any:
    return openvino.Core()
