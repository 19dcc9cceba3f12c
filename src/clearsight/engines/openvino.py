"""OpenVINO on CPU: the fastest steady state on x86."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from clearsight.core.nouns import ImagesNHWC
from clearsight.engines.session import ModelSession, Run, Session, cores


class Openvino:
    """Opens models with OpenVINO."""

    def open(self, model: bytes, threads: int) -> Session:
        """Open an ONNX model; see `Engine.open`."""
        return ModelSession("openvino", model, partial(_compile, threads=threads))


@cache
def _core() -> Any:
    return openvino.Core()


def _compile(model: bytes, outputs: Sequence[str], threads: int) -> Run:
    streams = max(1, cores() // threads)
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(streams * threads),
    }
    network = _core().read_model(model=model, weights=b"")
    compiled = _core().compile_model(network, "CPU", settings)
    ports = [compiled.output(name) for name in outputs]
    idle: list[Any] = []
    lock = threading.Lock()

    def run(images_nhwc: ImagesNHWC) -> list[NDArray[Any]]:
        with lock:
            request = idle.pop() if idle else None
        request = request or compiled.create_infer_request()
        request.infer([images_nhwc], share_inputs=True)
        results = [np.array(request.get_tensor(port).data) for port in ports]
        with lock:
            idle.append(request)
        return results

    return run
