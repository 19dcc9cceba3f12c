"""Makes a Bundle out of a model from elsewhere, and refuses one that does not answer as it did."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.convert.card import import_card
from clearsight.convert.class_names import read_class_names
from clearsight.convert.feeding import Feeding, check_agrees, read_feeding
from clearsight.convert.fold import Folded, fold
from clearsight.convert.onnx_outline import Outline, check_channels, load, outline
from clearsight.convert.source import Read, Wanted, find_source
from clearsight.convert.trial import probe_images, try_model
from clearsight.convert.witness import Run, logits_of, run_file
from clearsight.core.agreement import Agreement, agreement
from clearsight.core.bundle import CARD, MODEL, Bundle, Manifest, write_bundle
from clearsight.core.calibration import fit_temperature, probabilities
from clearsight.core.conformal import fit_conformal
from clearsight.core.errors import ClearsightError, DataError, GateError, ImageError, UsageError
from clearsight.core.files import storage_errors
from clearsight.core.nouns import ImageHWC, ImagesNHWC, Scores, Task
from clearsight.core.progress import Progress, Silent
from clearsight.core.reference import reference_of
from clearsight.core.seeds import generator
from clearsight.core.set_choice import best_sets, try_sets
from clearsight.data.dataset import Dataset
from clearsight.data.fingerprint import fingerprint
from clearsight.engines.golden import verify_golden
from clearsight.engines.open import capabilities, open_predictor, open_session
from clearsight.engines.predictor import BundlePredictor
from clearsight.evaluate.figures import judge
from clearsight.evaluate.prepared import prepared
from clearsight.evaluate.score import match_classes

GATE_PICTURES, PROBES, GOLDEN_PICTURES = 64, 8, 4
RECORDED_PACKAGES = ("clearsight", "numpy", "onnx", "onnxruntime", "openvino", "pillow", "timm")


@dataclass(frozen=True)
class Request:
    """What shall be imported.

    Args:
        model: a path, or "timm:NAME".
        classes: file with class names.
        out: a new folder; the Bundle stands in `out/bundle`.
        preprocess: see `feeding.read_feeding`.
        task: what a label is.
        architecture: timm name, for formats that hold weights alone.
        limit: use a random sample of so many pictures.
    """

    model: str
    classes: Path
    out: Path
    preprocess: tuple[str, ...] = ()
    task: Task = "single-label"
    architecture: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Imported:
    """What `import_model` made.

    Args:
        bundle: the new Bundle.
        format: key of the format it came in.
        parity: how far the Bundle is from the original, the worst engine.
    """

    bundle: Bundle
    format: str
    parity: Agreement

    def to_json(self) -> dict[str, Any]:
        """Return the object that `clearsight import --json` prints."""
        manifest = self.bundle.manifest
        return {
            "run": str(self.bundle.path.parent),
            "bundle": str(self.bundle.path),
            "id": manifest.id,
            "format": self.format,
            "classes": len(manifest.classes),
            "task": manifest.task,
            "preprocessing": manifest.preprocessing.model_dump(),
            "temperature": manifest.temperature,
            "parity": {
                "n": self.parity.n,
                "same_label": self.parity.same_label,
                "max_difference": self.parity.max_difference,
            },
            "evaluate": manifest.metrics,
        }


@dataclass(frozen=True)
class _Scored:
    """The given pictures: their scores and truth, and some of them prepared."""

    logits: Scores
    labels: NDArray[np.int64]
    images: list[ImageHWC]


def import_model(
    request: Request, dataset: Dataset | None = None, progress: Progress | None = None
) -> Imported:
    """Make a Bundle out of a model from elsewhere.

    Args:
        request: what and where.
        dataset: labelled pictures to score, calibrate and check with; None leaves the scores as
            they are and checks with made-up pictures.
        progress: where to report.

    Raises:
        BundleError: the file is no model of a format that is read, or not safe to run.
        UsageError: something about it is not known, or said wrongly.
        GateError: the Bundle does not answer as the model does; nothing is written.
        DataError: the pictures cannot be used.
    """
    progress = progress or Silent()
    names = read_class_names(request.classes)
    _check_out(request.out)
    read = _read(request, len(names), progress)
    said = read_feeding(request.preprocess, read.feeding)
    check_agrees(read.feeding, said)
    proto = load(read.model)
    seen = outline(proto)
    feeding = _complete(said, seen)
    folded = fold(proto, seen, feeding, feeding.preprocessing(), request.task, len(names))
    progress.say("Running the model for the first time, in a process of its own")
    try_model(folded.model, feeding.preprocessing(), len(names))
    model = _Model(request, names, read, feeding, folded)
    scored = model.score(dataset, progress) if dataset else None
    return model.write(dataset, scored, progress)


def _check_out(out: Path) -> None:
    with storage_errors(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{out} is not empty. Choose another --out; nothing was changed.")


def _read(request: Request, classes: int, progress: Progress) -> Read:
    key, source = find_source(request.model)
    if request.architecture is not None and not source.takes_architecture:
        raise UsageError(
            f"--architecture says nothing about {request.model}: the format {key} holds the "
            "network itself. Leave it out."
        )
    size = read_feeding(request.preprocess).size
    return source.read(request.model, Wanted(classes, request.architecture, size, progress))


def _complete(said: Feeding, seen: Outline) -> Feeding:
    """Return the feeding with nothing open.

    Raises:
        UsageError: something must be said, or contradicts the model's input.
    """
    said.check_complete()
    count = seen.shape[1] if said.layout == "NCHW" else seen.shape[3]
    default = {"channels": "grey" if count == 1 else "RGB"}
    feeding = Feeding.parse(default | said.model_dump(exclude_unset=True))
    check_channels(seen, feeding)
    return feeding


class _Model:
    """One model on its way into a Bundle."""

    def __init__(
        self, request: Request, names: tuple[str, ...], read: Read, feeding: Feeding, folded: Folded
    ) -> None:
        self.request, self.names, self.read = request, names, read
        self.feeding, self.folded = feeding, folded
        self._run: Run = read.original or run_file(folded.original, folded.output)

    def original(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return logits of the model as it came."""
        return logits_of(self._run, images_nhwc, self.feeding, self.folded, self.request.task)

    def score(self, dataset: Dataset, progress: Progress) -> _Scored:
        """Let the folded model answer the given pictures."""
        if self.request.limit is not None:
            order = generator(0, "import").permutation(len(dataset))[: self.request.limit]
            dataset = dataset.select(sorted(int(index) for index in order))
        manifest = Manifest.parse(self.about(1.0, {}, "") | {"files": {}})
        bundle = Bundle(self.request.out, manifest)
        predictor = BundlePredictor(bundle, open_session(self.folded.model))
        columns = match_classes(predictor, dataset)
        rows, kept, images = [], [], list[ImageHWC]()
        progress.start("score", len(dataset), "images")
        try:
            for batch in prepared(predictor, dataset.encoded, len(dataset)):
                good = [(i, item) for i, item in batch if not isinstance(item, ImageError)]
                if good:
                    rows.append(predictor.logits(np.stack([item for _, item in good])))
                    kept += [i for i, _ in good]
                    images += [item for _, item in good][: GATE_PICTURES - len(images)]
                progress.advance(len(batch))
        finally:
            progress.finish()
        if not kept:
            raise DataError(f"{dataset.root} holds no picture that can be decoded.")
        return _Scored(np.concatenate(rows), _truth(dataset, kept, columns, self.names), images)

    def write(
        self, dataset: Dataset | None, scored: _Scored | None, progress: Progress
    ) -> Imported:
        """Write the Bundle once every engine agrees with the original."""
        from clearsight.learn.golden import golden_files  # needs no torch

        task = self.request.task
        temperature = fit_temperature(scored.logits, scored.labels, task) if scored else 1.0
        metrics: dict[str, Any] = {}
        if scored:
            shares = probabilities(scored.logits, temperature, task)
            metrics = {"part": "val", **judge(shares, scored.labels, self.names, task)}
        about = self.about(temperature, metrics, fingerprint(dataset) if dataset else "")
        if scored:
            about["reference"] = reference_of(shares).model_dump(mode="json")
            about["conformal"] = _sets(shares, scored.labels, self.names, task, progress)
        probes = probe_images(self.feeding.preprocessing(), PROBES)
        images = np.stack([*(scored.images if scored else []), *probes])
        wanted = self.original(images)
        files = {
            MODEL: self.folded.model,
            CARD: import_card(about).encode("utf-8"),
            **golden_files(images[:GOLDEN_PICTURES], wanted[:GOLDEN_PICTURES]),
        }
        seen: list[Agreement] = []
        expected = probabilities(wanted, temperature, task)
        progress.say(f"Comparing with the original on {len(images)} pictures")
        path = self.request.out / "bundle"
        try:
            bundle = write_bundle(
                path, about, files, lambda staged: seen.extend(_agree(staged, images, expected))
            )
        except BaseException:
            if self.request.out.is_dir() and not any(self.request.out.iterdir()):
                self.request.out.rmdir()
            raise
        return Imported(bundle, self.read.format, max(seen, key=lambda item: item.max_difference))

    def about(self, temperature: float, metrics: dict[str, Any], seen: str) -> dict[str, Any]:
        """Return every Manifest field but the file list."""
        told = {
            "format": self.read.format,
            "model": Path(self.request.model).name,
            **self.read.told,
            "feeding": self.feeding.model_dump(mode="json"),
        }
        return {
            "id": hashlib.sha256(self.folded.model + seen.encode()).hexdigest()[:32],
            "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "classes": self.names,
            "family": "imported",
            "task": self.request.task,
            "preprocessing": self.feeding.preprocessing().model_dump(),
            "temperature": temperature,
            "metrics": metrics,
            "data_fingerprint": seen,
            "seed": 0,
            "config": {"import": told},
            "versions": _versions(),
            "weight_licences": [licence.model_dump() for licence in self.read.licences],
        }


def _sets(
    shares: Scores,
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    task: Task,
    progress: Progress,
) -> dict[str, Any] | None:
    """Return conformal quantiles fitted on the given pictures; None where there are too few."""
    if task == "multi-label":
        return None
    try:
        method = best_sets(try_sets(shares, labels, names)).method
        return fit_conformal(shares, labels, method, names).model_dump(mode="json")
    except DataError as error:
        progress.say(str(error))
        return None


def _agree(staged: Bundle, images: ImagesNHWC, expected: Scores) -> list[Agreement]:
    """Refuse a Bundle that does not answer as the original; return how far each engine is off."""
    found = []
    for state in capabilities():
        if not state.usable:
            continue
        try:
            predictor = open_predictor(staged, state.engine)
            seen = agreement(expected, predictor.probabilities(images))
            if seen.holds:
                verify_golden(predictor)
        except ClearsightError as error:
            raise GateError(f"The Bundle was not written: {state.engine}: {error}") from error
        if not seen.holds:
            raise GateError(
                f"The Bundle does not answer as the model did ({state.engine}, {seen.n} pictures): "
                f"same label for {seen.same_label:.1%}, probabilities off by up to "
                f"{seen.max_difference:.2g}, allowed {seen.allowed:g}. Nothing was written."
            )
        found.append(seen)
    return found


def _truth(
    dataset: Dataset, kept: list[int], columns: dict[int, int], names: tuple[str, ...]
) -> NDArray[np.int64]:
    if dataset.task != "multi-label":
        return np.array([columns[dataset.samples[i].label] for i in kept], np.int64)
    truth = np.zeros((len(kept), len(names)), np.int64)
    for row, index in enumerate(kept):
        truth[row, [columns[label] for label in dataset.samples[index].labels]] = 1
    return truth


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
