"""A Bundle that answers: encoded picture in, calibrated labels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import Bundle, Manifest
from clearsight.core.calibration import probabilities
from clearsight.core.errors import BundleError, DataError, UsageError
from clearsight.core.nouns import (
    PRESENT,
    ImageHWC,
    ImagesNHWC,
    Prediction,
    Predictor,
    Preprocessing,
    Scores,
    Task,
)
from clearsight.core.rejection import Familiarity, FeatureMemory, score_familiarity
from clearsight.core.tensors import read_float32
from clearsight.data.preprocess import prepare_encoded
from clearsight.engines.session import LOGITS, Outputs, Session

EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Recognized:
    """Everything that one run of the model says of a batch.

    Args:
        logits: (n, classes) float32.
        probabilities: (n, classes) float32, calibrated.
        familiarity: (n,) float64, see `core.rejection`; None where the Bundle rejects nothing.
        embeddings: (n, d) float32; None where they were not needed or the model has none.
    """

    logits: Scores
    probabilities: Scores
    familiarity: Familiarity | None
    embeddings: NDArray[np.float32] | None


class BundlePredictor:
    """Runs one opened Bundle; implements `core.nouns.Predictor`. Thread-safe.

    Args:
        bundle: the verified Bundle.
        session: its model, ready to run.
        variant: key of the variant that `session` runs; "" for the model of full precision.
        embed: feature vectors will be asked for with every answer.

    Raises:
        BundleError: the model lacks an output that the manifest names.
    """

    def __init__(
        self, bundle: Bundle, session: Session, variant: str = "", embed: bool = False
    ) -> None:
        self.bundle, self.session, self.variant = bundle, session, variant
        for name in {"logits", *bundle.manifest.outputs}:
            if name not in session.outputs:
                raise BundleError(f"{bundle.path}: the model has no output {name!r}.")
        self._memory = _memory(bundle)
        self._names = answering_outputs(bundle.manifest, embed)

    @property
    def manifest(self) -> Manifest:
        """What the Bundle says of itself."""
        return self.bundle.manifest

    @property
    def engine(self) -> str:
        """Key of the engine that runs the model."""
        return self.session.engine

    @property
    def task(self) -> Task:
        """What a label is."""
        return self.manifest.task

    @property
    def classes(self) -> Sequence[str]:
        """Class names, in the order of the score columns."""
        return self.manifest.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures must be prepared for `logits`."""
        return self.manifest.preprocessing

    def prepare(self, encoded: bytes) -> ImageHWC:
        """Decode one encoded picture and bring it to the model's input size.

        Raises:
            ImageError: the bytes are no usable picture.
        """
        return prepare_encoded(encoded, self.preprocessing)

    def outputs(self, images_nhwc: ImagesNHWC, names: Sequence[str] = LOGITS) -> Outputs:
        """Return named outputs of the model for prepared pictures.

        Args:
            images_nhwc: (n, h, w, c) uint8, from `prepare`.
            names: of `manifest.outputs`.

        Returns:
            float32 arrays, first axis n.

        Raises:
            BundleError: the model gives NaN or infinity, or a wrong number of scores.
            UsageError: wrong dtype or shape, or an unknown output.
        """
        results = self.session.run(images_nhwc, names)
        for name, array in results.items():
            if not np.isfinite(array).all():
                raise BundleError(
                    f"{self.bundle.path}: the model gives NaN or infinity in {name!r}; no label "
                    "is made from that. Train again or restore an earlier Bundle."
                )
        return results

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return raw scores (n, classes) float32 of prepared pictures (n, h, w, c) uint8."""
        found = self.outputs(images_nhwc, self._names)  # one compiled model for every answer
        return self._checked(found["logits"], len(images_nhwc))

    def probabilities(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return calibrated probabilities (n, classes) float32 of prepared pictures."""
        return self._calibrated(self.logits(images_nhwc))

    def recognized(self, images_nhwc: ImagesNHWC, embeddings: bool = False) -> Recognized:
        """Return all that one run of the model says of prepared pictures.

        Args:
            images_nhwc: (n, h, w, c) uint8, from `prepare`.
            embeddings: feature vectors are wanted, where the model has them.

        Raises:
            BundleError: see `outputs`.
        """
        names = answering_outputs(self.manifest, True) if embeddings else self._names
        found = self.outputs(images_nhwc, names)
        logits = self._checked(found["logits"], len(images_nhwc))
        shares = self._calibrated(logits)
        features = found.get(EMBEDDING)
        vectors = None if features is None else features.reshape(len(images_nhwc), -1)
        return Recognized(logits, shares, self._familiarity(logits, shares, vectors), vectors)

    def predictions(self, images_nhwc: ImagesNHWC, top: int = 5) -> list[Prediction]:
        """Return one Prediction for each prepared picture; `top` as in `prediction`."""
        seen = self.recognized(images_nhwc)
        return [
            self.prediction(row, top, None if seen.familiarity is None else seen.familiarity[index])
            for index, row in enumerate(seen.probabilities)
        ]

    def _calibrated(self, logits: Scores) -> Scores:
        manifest = self.manifest
        return probabilities(logits, manifest.temperature, manifest.task, manifest.vector)

    def _familiarity(
        self, logits: Scores, shares: Scores, vectors: NDArray[np.float32] | None
    ) -> Familiarity | None:
        rejection = self.manifest.rejection
        if rejection is None:
            return None
        if self._memory is None or vectors is None:
            return score_familiarity(rejection.method, logits, shares)
        try:
            return self._memory.familiarity(vectors)
        except DataError as error:
            raise BundleError(f"{self.bundle.path}: {error}") from error

    def _checked(self, scores: Scores, n: int) -> Scores:
        if scores.shape != (n, len(self.classes)):
            raise BundleError(
                f"{self.bundle.path}: the model gives scores of shape {scores.shape} for "
                f"{len(self.classes)} classes and {n} pictures."
            )
        return scores

    def recognize(self, encoded: bytes, top: int = 5) -> Prediction:
        """Decode, prepare and recognize one encoded picture.

        Raises:
            ImageError: the bytes are no usable picture.
            BundleError: the model gives NaN or infinity.
        """
        return self.predictions(self.prepare(encoded)[None], top)[0]

    def prediction(
        self, probabilities: Scores, top: int = 5, familiarity: float | None = None
    ) -> Prediction:
        """Return the best classes of one picture.

        Args:
            probabilities: (classes,) float32 from `recognized` or `probabilities`.
            top: how many classes to name.
            familiarity: the picture's, from `recognized`; None where the Bundle rejects nothing
                or takes the best score for it.

        Raises:
            UsageError: the Bundle rejects by something else than the best score and
                `familiarity` is missing.
        """
        every = np.argsort(-probabilities, kind="stable")
        order = every[: max(1, top)]
        present, rank = None, None
        if self.task == "multi-label":
            likely = [index for index in every if probabilities[index] >= PRESENT]
            present = tuple(self.classes[index] for index in likely)
        elif self.task == "ordinal":
            rank = float(np.arange(len(probabilities)) @ probabilities.astype(np.float64))
        return Prediction(
            labels=tuple(self.classes[index] for index in order),
            scores=tuple(float(probabilities[index]) for index in order),
            accepted=self._accepts(float(probabilities[order[0]]), familiarity),
            present=present,
            rank=rank,
            set=self._set(probabilities, every),
        )

    def _accepts(self, best: float, familiarity: float | None) -> bool:
        threshold, rejection = self.manifest.rejection_threshold, self.manifest.rejection
        if threshold is not None and best < threshold:
            return False
        if rejection is None:
            return True
        if familiarity is None and rejection.method != "max-softmax":
            raise UsageError(
                f"{self.bundle.path} rejects unknown pictures by {rejection.method}, which is not "
                "in the probabilities. Use predictions(), or recognized() and its familiarity."
            )
        return bool((best if familiarity is None else familiarity) >= rejection.threshold)

    def _set(self, probabilities: Scores, every: NDArray[np.int64]) -> tuple[str, ...] | None:
        conformal = self.manifest.conformal
        if conformal is None:
            return None
        inside = conformal.sets(probabilities[None])[0]
        return tuple(self.classes[index] for index in every if inside[index])


def predictions(predictor: Predictor, images_nhwc: ImagesNHWC, top: int = 5) -> list[Prediction]:
    """Return one Prediction for each prepared picture, whatever kind of predictor it is."""
    if isinstance(predictor, BundlePredictor):
        return predictor.predictions(images_nhwc, top)
    return [predictor.prediction(row, top) for row in predictor.probabilities(images_nhwc)]


def answering_outputs(manifest: Manifest, embed: bool = False) -> tuple[str, ...]:
    """Return the outputs of the model that every answer takes.

    Args:
        manifest: of the Bundle.
        embed: feature vectors are wanted beside the answer, where the model has them.
    """
    needed = manifest.rejection is not None and manifest.rejection.needs_features
    has = EMBEDDING in manifest.outputs
    return (*LOGITS, EMBEDDING) if has and (embed or needed) else LOGITS


def _memory(bundle: Bundle) -> FeatureMemory | None:
    """Return the features that rejection needs, where it needs any."""
    rejection = bundle.manifest.rejection
    if rejection is None or rejection.file is None:
        return None
    if "embedding" not in bundle.manifest.outputs:
        raise BundleError(
            f"{bundle.path}: rejection by {rejection.method} needs the output 'embedding'."
        )
    try:
        return FeatureMemory(read_float32(bundle.read(rejection.file)))
    except DataError as error:
        raise BundleError(f"{bundle.path}: {rejection.file}: {error}") from error
