"""A trained candidate on disk: what a race or a study need not train again after a kill."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.agreement import agreement
from clearsight.core.bundle import WeightLicence
from clearsight.core.calibration import probabilities
from clearsight.core.errors import GateError, StorageError
from clearsight.core.files import new_folder, read_json, storage_errors, write_json
from clearsight.core.nouns import ImagesNHWC, Preprocessing, Scores
from clearsight.learn.bundle_writer import safetensors_bytes
from clearsight.learn.choose import Candidate
from clearsight.learn.contest import Contest, Trained, build_family, unlearnt
from clearsight.learn.family import OnnxRunner

CHECKED_PICTURES = 64
BATCH = 256


@dataclass(frozen=True)
class KeptModel:
    """A trained model as it was exported; stands in for the one that was trained.

    Args:
        model: the ONNX file.
        arrays: for model.safetensors.
        runner: `model`, opened.
        outputs, licences, steps, story: of the trained one.
    """

    model: bytes
    arrays: Mapping[str, NDArray[Any]]
    runner: OnnxRunner
    outputs: tuple[str, ...]
    licences: tuple[WeightLicence, ...]
    steps: bool
    story: dict[str, Any]

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return (n, classes) float32 scores."""
        parts = [
            self.runner.run(images_nhwc[first : first + BATCH])["logits"]
            for first in range(0, len(images_nhwc), BATCH)
        ]
        return np.concatenate(parts)

    def onnx_model(self) -> bytes:
        """Return the ONNX file."""
        return self.model

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays for model.safetensors."""
        return self.arrays


def keep(folder: Path, trained: Trained, contest: Contest) -> Trained:
    """Write a trained candidate into a new folder and return it as it will be found again.

    The exported model is compared with the trained one first, on validation pictures, so that
    what is found later is known to be what was trained.

    Raises:
        GateError: they disagree.
        StorageError: it cannot be written.
    """
    if (folder / "facts.json").is_file():
        return found(folder, trained.candidate, contest)
    fitted = trained.fitted
    model = fitted.onnx_model()
    runner = contest.seams.open_model(model)
    part, task = np.asarray(trained.val.images[:CHECKED_PICTURES]), contest.facts.task
    wanted, got = (
        probabilities(scores, trained.temperature, task)
        for scores in (trained.val_logits[:CHECKED_PICTURES], runner.run(part)["logits"])
    )
    seen = agreement(wanted, got, fitted.steps)
    if not seen.holds:
        raise GateError(
            f"{trained.candidate.key} exports another model than was trained (probabilities off "
            f"by up to {seen.max_difference:.2g})."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as place:
        (place / "model.onnx").write_bytes(model)
        (place / "model.safetensors").write_bytes(safetensors_bytes(fitted.weights()))
        np.save(place / "logits.npy", trained.val_logits, allow_pickle=False)
        np.save(place / "scored.npy", trained.val.kept, allow_pickle=False)
        facts = {
            "outputs": list(fitted.outputs),
            "licences": [licence.model_dump() for licence in fitted.licences],
            "story": fitted.story,
            "steps": fitted.steps,
            "temperature": trained.temperature,
            "preprocessing": trained.preprocessing.model_dump(),
            "figures": trained.figures,
            "seconds": trained.seconds,
            "hardened": trained.hardened,
        }
        write_json(place / "facts.json", facts)
    return found(folder, trained.candidate, contest)


def found(folder: Path, candidate: Candidate, contest: Contest) -> Trained:
    """Return a candidate that `keep` has written.

    Raises:
        StorageError: the folder is damaged.
    """
    facts = read_json(folder / "facts.json")
    with storage_errors(folder):
        model = (folder / "model.onnx").read_bytes()
        weights = (folder / "model.safetensors").read_bytes()
        logits: Scores = np.load(
            io.BytesIO((folder / "logits.npy").read_bytes()), allow_pickle=False
        )
        scored = np.load(io.BytesIO((folder / "scored.npy").read_bytes()), allow_pickle=False)
    try:
        from safetensors.numpy import load

        preprocessing = Preprocessing.parse(facts["preprocessing"])
        train, val = contest.pixels(preprocessing)
        if len(scored) < len(val.kept):
            val = val.take(np.flatnonzero(np.isin(val.kept, scored)))
        fitted = KeptModel(
            model,
            load(weights),
            contest.seams.open_model(model),
            tuple(facts["outputs"]),
            tuple(WeightLicence.parse(licence) for licence in facts["licences"]),
            facts["steps"],
            facts["story"],
        )
        return Trained(
            candidate=candidate,
            family=build_family(candidate),
            fitted=fitted,
            preprocessing=preprocessing,
            val=val,
            val_logits=logits,
            temperature=facts["temperature"],
            figures=facts["figures"],
            quarantined=(*train.quarantined, *val.quarantined),
            seconds=facts["seconds"],
            unlearnt=unlearnt(train, contest.facts.classes),
            balanced=contest.remedy is not None,
            hardened=facts["hardened"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{folder} is damaged: {error}. Remove it to train it again.") from error
