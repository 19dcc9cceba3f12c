"""A Bundle that answers: encoded picture in, calibrated labels out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import Bundle, Manifest
from clearsight.core.calibration import probabilities
from clearsight.core.errors import BundleError
from clearsight.core.nouns import (
    PRESENT,
    ImageHWC,
    ImagesNHWC,
    Prediction,
    Preprocessing,
    Scores,
    Task,
)
from clearsight.data.preprocess import prepare_encoded
from clearsight.engines.session import Outputs, Session


class BundlePredictor:
    """Runs one opened Bundle; implements `core.nouns.Predictor`. Thread-safe.

    Args:
        bundle: the verified Bundle.
        session: its model, ready to run.
        variant: key of the variant that `session` runs; "" for the model of full precision.

    Raises:
        BundleError: the model lacks an output that the manifest names.
    """

    def __init__(self, bundle: Bundle, session: Session, variant: str = "") -> None:
        self.bundle, self.session, self.variant = bundle, session, variant
        for name in {"logits", *bundle.manifest.outputs}:
            if name not in session.outputs:
                raise BundleError(f"{bundle.path}: the model has no output {name!r}.")

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

    def outputs(self, images_nhwc: ImagesNHWC, names: Sequence[str] = ("logits",)) -> Outputs:
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
        scores = self.outputs(images_nhwc)["logits"]
        if scores.shape != (len(images_nhwc), len(self.classes)):
            raise BundleError(
                f"{self.bundle.path}: the model gives scores of shape {scores.shape} for "
                f"{len(self.classes)} classes and {len(images_nhwc)} pictures."
            )
        return scores

    def probabilities(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return calibrated probabilities (n, classes) float32 of prepared pictures."""
        manifest = self.manifest
        return probabilities(self.logits(images_nhwc), manifest.temperature, manifest.task)

    def probabilities_and_embeddings(
        self, images_nhwc: ImagesNHWC
    ) -> tuple[Scores, NDArray[np.float32] | None]:
        """Return `probabilities` and the model's feature vectors (n, d), None where it has none."""
        manifest = self.manifest
        if "embedding" not in manifest.outputs:
            return self.probabilities(images_nhwc), None
        found = self.outputs(images_nhwc, ("logits", "embedding"))
        scores = probabilities(found["logits"], manifest.temperature, manifest.task)
        return scores, found["embedding"].reshape(len(images_nhwc), -1)

    def recognize(self, encoded: bytes, top: int = 5) -> Prediction:
        """Decode, prepare and recognize one encoded picture.

        Raises:
            ImageError: the bytes are no usable picture.
            BundleError: the model gives NaN or infinity.
        """
        return self.prediction(self.probabilities(self.prepare(encoded)[None])[0], top)

    def prediction(self, probabilities: Scores, top: int = 5) -> Prediction:
        """Return the best classes of one picture.

        Args:
            probabilities: (classes,) float32 from `probabilities`.
            top: how many classes to name.
        """
        every = np.argsort(-probabilities, kind="stable")
        order = every[: max(1, top)]
        threshold = self.manifest.rejection_threshold
        present, rank = None, None
        if self.task == "multi-label":
            likely = [index for index in every if probabilities[index] >= PRESENT]
            present = tuple(self.classes[index] for index in likely)
        elif self.task == "ordinal":
            rank = float(np.arange(len(probabilities)) @ probabilities.astype(np.float64))
        return Prediction(
            labels=tuple(self.classes[index] for index in order),
            scores=tuple(float(probabilities[index]) for index in order),
            accepted=threshold is None or float(probabilities[order[0]]) >= threshold,
            present=present,
            rank=rank,
        )
