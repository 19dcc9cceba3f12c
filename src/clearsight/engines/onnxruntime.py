"""ONNX Runtime on CPU: starts quickest, runs everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from clearsight.core.nouns import ImagesNHWC
from clearsight.engines.session import LOGITS, Compute, ModelSession, Run, Session

FATAL = 4  # log level: whatever goes wrong is raised, so nothing is printed beside


class Onnxruntime:
    """Opens models with ONNX Runtime."""

    def open(
        self,
        model: bytes,
        threads: int,
        compute: Compute = "fp32",
        outputs: Sequence[str] = LOGITS,
    ) -> Session:
        """Open an ONNX model; see `Engine.open`. It computes in fp32 (or int8) on any processor."""
        return ModelSession("onnxruntime", model, _compile, threads, outputs)


def _compile(model: bytes, outputs: Sequence[str]) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    name = session.get_inputs()[0].name
    wanted = list(outputs)

    def run(images_nhwc: ImagesNHWC) -> list[NDArray[Any]]:
        arrays: list[NDArray[Any]] = session.run(wanted, {name: images_nhwc})
        return arrays

    return run
