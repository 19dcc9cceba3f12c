"""Turns what was learnt into a Bundle that has passed the parity gate."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import CARD, MODEL, WEIGHTS, Bundle, write_bundle
from clearsight.core.calibration import probabilities
from clearsight.core.errors import MissingExtraError
from clearsight.core.nouns import Predictor, Preprocessing, Scores, Task
from clearsight.core.rejection import REJECTION_FILE
from clearsight.core.seeds import generator
from clearsight.data.cache import PixelCache
from clearsight.data.dataset import Dataset
from clearsight.learn.family import Fitted, OpenModel
from clearsight.learn.golden import golden_files
from clearsight.learn.parity import check_parity
from clearsight.learn.reference import measure_reference
from clearsight.learn.settings import TrainSettings
from clearsight.learn.trust import Trust

GATE_PICTURES = 64
"""Validation pictures that the parity gate follows from their bytes to their label."""
GOLDEN_PICTURES = 4
RECORDED_PACKAGES = ("torch", "timm", "numpy", "onnx", "onnxruntime", "openvino", "pillow")


@dataclass(frozen=True)
class Learnt:
    """Everything a Bundle is made from.

    Args:
        classes: class names in label order.
        family: key of the family.
        fitted: the trained model.
        preprocessing: what its pixels go through.
        model: its ONNX file.
        trust: calibration, conformal sets and rejection, fitted on the validation part.
        fingerprint: of the data.
        settings: the resolved settings.
        family_config: the family's resolved configuration.
        val: the validation part, aligned with `val_cache` through `val_cache.kept`.
        val_cache: its pixels as the trainer saw them.
        val_logits: (n, classes) scores of `fitted` on them.
        story: how it was trained and why so.
        counts: pictures per part, quarantined, skipped.
        task: what a label is.
    """

    classes: tuple[str, ...]
    family: str
    fitted: Fitted
    preprocessing: Preprocessing
    model: bytes
    trust: Trust
    fingerprint: str
    settings: TrainSettings
    family_config: dict[str, Any]
    val: Dataset
    val_cache: PixelCache
    val_logits: Scores
    story: dict[str, Any]
    counts: dict[str, int]
    task: Task = "single-label"


def write_learnt(
    path: Path,
    learnt: Learnt,
    predictors: Mapping[str, Callable[[Bundle], Predictor]],
    card: Callable[[dict[str, Any]], str],
    open_model: OpenModel | None = None,
) -> Bundle:
    """Export, stage, check by every engine and only then put the Bundle in place.

    Args:
        path: where it shall stand.
        learnt: what it is made from.
        predictors: by engine, opens the staged Bundle.
        card: writes the card from the manifest's facts.
        open_model: opens the exported model for a few pictures, to measure the embeddings of the
            reference; None leaves them out.

    Raises:
        GateError: an engine disagrees with the trained model; no Bundle is written.
        StorageError: an I/O failure; nothing is left behind.
    """
    model = learnt.model
    about = manifest_facts(learnt)
    about["reference"] = _reference(learnt, open_model)
    chosen = _gate_rows(learnt)

    def gate(staged: Bundle) -> None:
        check_parity(
            staged,
            reference=learnt.fitted.logits,
            encoded=[learnt.val.encoded(int(learnt.val_cache.kept[row])) for row in chosen],
            trained_pixels=np.asarray(learnt.val_cache.images[chosen]),
            openers=predictors,
        )

    files = {
        MODEL: model,
        WEIGHTS: safetensors_bytes(learnt.fitted.weights()),
        CARD: card(about | {"counts": learnt.counts, "story": learnt.story}).encode("utf-8"),
        **golden_files(
            np.asarray(learnt.val_cache.images[chosen[:GOLDEN_PICTURES]]),
            learnt.val_logits[chosen[:GOLDEN_PICTURES]],
        ),
    }
    if learnt.trust.arrays:
        files[REJECTION_FILE] = safetensors_bytes(learnt.trust.arrays)
    return write_bundle(path, about, files, gate)


def manifest_facts(learnt: Learnt) -> dict[str, Any]:
    """Return every Manifest field but the file list."""
    trust = learnt.trust
    config = learnt.settings.model_dump(mode="json") | {"family": learnt.family_config}
    return {
        "id": hashlib.sha256(learnt.model + learnt.fingerprint.encode()).hexdigest()[:32],
        "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "classes": learnt.classes,
        "family": learnt.family,
        "task": learnt.task,
        "preprocessing": learnt.preprocessing.model_dump(),
        "temperature": trust.temperature,
        "vector": trust.vector and trust.vector.model_dump(mode="json"),
        "conformal": trust.conformal and trust.conformal.model_dump(mode="json"),
        "rejection": trust.rejection and trust.rejection.model_dump(mode="json"),
        "outputs": learnt.fitted.outputs,
        "steps": learnt.fitted.steps,
        "metrics": {"part": "val", **trust.figures},
        "data_fingerprint": learnt.fingerprint,
        "seed": learnt.settings.seed,
        "config": config,
        "versions": versions(),
        "weight_licences": [licence.model_dump() for licence in learnt.fitted.licences],
    }


def _reference(learnt: Learnt, open_model: OpenModel | None) -> dict[str, Any]:
    gives_embedding = "embedding" in learnt.fitted.outputs
    trust = learnt.trust
    return measure_reference(
        probabilities(learnt.val_logits, trust.temperature, learnt.task, trust.vector),
        learnt.val_cache.images,
        learnt.model,
        open_model if gives_embedding else None,
        learnt.settings.time_s,
    ).model_dump()


def versions() -> dict[str, str]:
    """Return the versions of what took part."""
    found = {"python": platform.python_version()}
    for package in ("clearsight", *RECORDED_PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def safetensors_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays in the safetensors format.

    Raises:
        MissingExtraError: safetensors is not installed.
    """
    try:
        from safetensors.numpy import save
    except ModuleNotFoundError as error:
        raise MissingExtraError("safetensors", "classical", "Writing a Bundle") from error
    content: bytes = save({name: np.ascontiguousarray(value) for name, value in arrays.items()})
    return content


def _gate_rows(learnt: Learnt) -> NDArray[np.int64]:
    rows = generator(learnt.settings.seed, "gate").permutation(len(learnt.val_cache.labels))
    return rows[:GATE_PICTURES]
