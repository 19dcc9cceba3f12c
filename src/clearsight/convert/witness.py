"""What the model gave where it came from: the scores that its Bundle must give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from clearsight.convert.feeding import Feeding, Floats
from clearsight.convert.fold import LEAST, Folded
from clearsight.core.errors import BundleError, UsageError
from clearsight.core.nouns import ImagesNHWC, Scores, Task

Run = Callable[[Floats], Floats]
SUM_OFF = 1e-3


def run_file(content: bytes, output: str) -> Run:
    """Return a function that runs an ONNX file without any preparation, picture by picture.

    Args:
        content: `Folded.original`: everything in it ran in `try_model` before.
        output: name of the scores.

    Raises:
        BundleError: the engine cannot open or run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # whatever goes wrong is raised
    try:
        session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # the engine's own exception types
        raise BundleError(f"The model cannot be opened as it is: {error}") from error
    (value,) = session.get_inputs()
    kinds: dict[str, Any] = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
    kind = kinds.get(value.type, np.float32)

    def run(fed: Floats) -> Floats:
        rows = []
        for picture in fed:
            try:
                (scores,) = session.run([output], {value.name: picture[None].astype(kind)})
            except Exception as error:  # the engine's own exception types
                raise BundleError(f"The model cannot be run as it is: {error}") from error
            rows.append(np.asarray(scores[0], np.float32).reshape(-1))
        return np.stack(rows)

    return run


def logits_of(
    run: Run, images_nhwc: ImagesNHWC, feeding: Feeding, folded: Folded, task: Task
) -> Scores:
    """Return logits (n, classes) of the original for prepared pictures.

    Args:
        run: the original.
        images_nhwc: (n, h, w, c) uint8.
        feeding: complete.
        folded: says what the original's scores are.
        task: what a label is.

    Raises:
        UsageError: its scores are not what they were said to be.
    """
    scores = run(feeding.feed(images_nhwc)).astype(np.float64)
    if folded.ending == "logits":
        _check_no_probabilities(scores, feeding)
        return _two(scores, folded)
    _check_probabilities(scores, task, folded.single)
    log = np.log(np.maximum(scores, LEAST))
    if folded.single or task == "multi-label":
        log = log - np.log(np.maximum(1 - scores, LEAST))
    return _two(log, folded)


def _two(scores: Any, folded: Folded) -> Scores:
    """Return float32 scores; one number a picture is the second class's, the first's is 0."""
    if folded.single:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    return np.asarray(scores, dtype=np.float32)


def _check_probabilities(scores: Any, task: Task, single: bool) -> None:
    inside = scores.min() >= -SUM_OFF and scores.max() <= 1 + SUM_OFF
    shared = single or task == "multi-label" or np.abs(scores.sum(axis=1) - 1).max() <= SUM_OFF
    if not (inside and shared):
        raise UsageError(
            "The model's outputs are no probabilities (not within 0 and 1, or not adding up to 1). "
            "Leave outputs=probabilities out, or give --task multi-label where each class is "
            "judged by itself."
        )


def _check_no_probabilities(scores: Any, feeding: Feeding) -> None:
    """Refuse probabilities that nobody called so: their softmax would mean nothing."""
    if feeding.outputs is not None or scores.shape[1] < 2:
        return
    if scores.min() >= 0 and np.abs(scores.sum(axis=1) - 1).max() <= SUM_OFF:
        raise UsageError(
            "The model's outputs look like probabilities (each picture's add up to 1). Say which "
            "they are with --preprocess outputs=probabilities or outputs=logits."
        )
