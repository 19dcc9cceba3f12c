"""ONNX Runtime on CPU: starts quickest, runs everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnxruntime

from clearsight.core.nouns import ImagesNHWC
from clearsight.engines.session import ModelSession, Run, Session

ERRORS_ONLY = 4  # ONNX Runtime's "fatal": what it raises is reported as an exception anyway


class Onnxruntime:
    """Opens models with ONNX Runtime."""

    def open(self, model: bytes, threads: int) -> Session:
        """Open an ONNX model; see `Engine.open`."""
        return ModelSession("onnxruntime", model, partial(_compile, threads=threads))


def _compile(model: bytes, outputs: Sequence[str], threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images_nhwc: ImagesNHWC) -> Sequence[object]:
        return session.run(list(outputs), {name: images_nhwc})  # type: ignore[no-any-return]

    return run  # type: ignore[return-value]
