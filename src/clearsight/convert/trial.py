"""Runs an unknown model for the first time: in a process of its own, with bounded memory and time.

A model that passes every rule can still ask for terabytes, run for hours or bring an engine down;
here that ends the process and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

from clearsight.core.errors import BundleError, ClearsightError
from clearsight.core.nouns import ImagesNHWC, Preprocessing
from clearsight.core.seeds import generator

MEMORY_BYTES = 16 * 1024**3
TIMEOUT_S = 120
SAME = 1e-3
BATCH = 3


def try_model(model: bytes, preprocessing: Preprocessing, classes: int) -> None:
    """Open and run a model of a Bundle that has not been run before.

    Args:
        model: ONNX: uint8 NHWC "images" -> "logits".
        preprocessing: size and channels of its input.
        classes: how many scores it must give.

    Raises:
        BundleError: it cannot be run, takes too much, gives another number of scores, or gives
            other scores for a picture when there are others in its batch.
    """
    p = preprocessing
    command = [sys.executable, "-m", __name__, str(p.height), str(p.width), str(p.channels)]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            command, input=model, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(
            f"The model did not answer {BATCH} pictures within {TIMEOUT_S} s. It is not imported."
        ) from error
    try:
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise BundleError(
            "The model ended the process that ran it for the first time "
            f"(exit code {done.returncode}; at most {MEMORY_BYTES >> 30} GiB are allowed). It is "
            "not imported."
        ) from error
    if "error" in told:
        raise BundleError(f"The model cannot be run: {told['error']}")
    if told["shape"][1:] != [classes]:
        raise BundleError(
            f"The model gives {_count(told['shape'])} scores a picture; --classes names {classes}. "
            "Give the file with the names of its classes."
        )
    if not told["same"]:
        raise BundleError(
            "The model gives a picture other scores when there are others in its batch "
            f"(off by {told['apart']:.2g}). Export it with a free batch axis."
        )


def _count(shape: list[int]) -> str:
    return str(shape[1]) if len(shape) == 2 else f"{shape[1:]}"


def probe_images(preprocessing: Preprocessing, n: int, seed: int = 0) -> ImagesNHWC:
    """Return made-up pictures (n, h, w, c) uint8: colours, edges and noise at several scales."""
    p = preprocessing
    noise = generator(seed, "probe-images")
    canvas = np.zeros((n, p.height, p.width, p.channels), np.float32)
    for cells in (1, 2, 4, 8, 16):
        coarse = noise.normal(size=(n, cells, cells, p.channels)).astype(np.float32)
        rows = np.arange(p.height) * cells // p.height
        columns = np.arange(p.width) * cells // p.width
        canvas += coarse[:, rows][:, :, columns]
    return np.asarray(np.clip(127.5 + 48 * canvas, 0, 255), dtype=np.uint8)


def _run(model: bytes, shape: tuple[int, int, int]) -> dict[str, Any]:
    from clearsight.engines.open import open_session

    height, width, channels = shape
    images = probe_images(
        Preprocessing(height=height, width=width, channels=1 if channels == 1 else 3), BATCH
    )
    session = open_session(model, "onnxruntime", threads=1)
    singly = np.concatenate([session.run(image[None])["logits"] for image in images])
    together = session.run(images)["logits"]
    if singly.shape != together.shape:
        return {"error": f"it gives {together.shape} for {BATCH} pictures"}
    if not np.isfinite(together).all():
        return {"error": "it gives NaN or infinity for made-up pictures"}
    apart = float(np.abs(singly - together).max() / (1 + np.abs(singly).max()))
    return {"shape": list(together.shape), "same": apart <= SAME, "apart": apart}


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _main() -> None:
    model = sys.stdin.buffer.read()
    height, width, channels = (int(word) for word in sys.argv[1:4])
    _bound_memory()
    try:
        told = _run(model, (height, width, channels))
    except ClearsightError as error:
        told = {"error": str(error)}
    print(json.dumps(told))


if __name__ == "__main__":
    _main()
