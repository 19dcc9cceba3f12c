"""Runs a recognizer over a data set: decode in threads, infer in batches, measure each picture."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import ImageError
from clearsight.core.nouns import ImagesNHWC, Predictor, Scores
from clearsight.core.progress import Progress
from clearsight.core.rejection import Familiarity
from clearsight.data.dataset import Dataset
from clearsight.data.header import read_header
from clearsight.engines.predictor import BundlePredictor
from clearsight.evaluate.evaluation import LeftOut
from clearsight.evaluate.prepared import prepared

SIZE = "size in pixels"
BRIGHTNESS = "brightness"
CONTRAST = "contrast"


@dataclass(frozen=True)
class Inferred:
    """What a recognizer gave for the pictures that could be decoded.

    Args:
        probabilities: (n, k) calibrated.
        logits: (n, k); None unless only they tell what the scores were before calibration.
        familiarity: (n,); None where the recognizer rejects nothing.
        measures: by name, (n,): the root of the picture's area in pixels, and the mean (0-255)
            and the standard deviation of the pixels that the model sees.
        kept: the pictures' places in the data set.
    """

    probabilities: Scores
    logits: Scores | None
    familiarity: Familiarity | None
    measures: dict[str, NDArray[np.float64]]
    kept: list[int]


class _Rows:
    """Collects what comes out of each batch."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.columns: dict[str, list[NDArray[np.floating]]] = {}

    def add(self, images: ImagesNHWC) -> None:
        """Recognize a batch."""
        if isinstance(self.predictor, BundlePredictor):
            seen = self.predictor.recognized(images)
            self._put("probabilities", seen.probabilities)
            if self.predictor.manifest.vector is not None:
                self._put("logits", seen.logits)
            if seen.familiarity is not None:
                self._put("familiarity", seen.familiarity)
        else:
            self._put("probabilities", self.predictor.probabilities(images))
        told = [cv2.meanStdDev(image.reshape(1, -1)) for image in images]
        self._put(BRIGHTNESS, np.array([float(mean[0, 0]) for mean, _ in told]))
        self._put(CONTRAST, np.array([float(deviation[0, 0]) for _, deviation in told]))

    def get(self, name: str) -> NDArray[np.floating] | None:
        """Return all rows of one column; None where there is none."""
        return np.concatenate(self.columns[name]) if name in self.columns else None

    def _put(self, name: str, values: NDArray[np.floating]) -> None:
        self.columns.setdefault(name, []).append(values)


def infer(
    predictor: Predictor, dataset: Dataset, progress: Progress, quarantined: list[LeftOut]
) -> Inferred | None:
    """Return what the recognizer gives for every picture that can be decoded; None for none.

    Args:
        predictor: an opened recognizer.
        dataset: pictures.
        progress: told of each batch.
        quarantined: what cannot be decoded is added to it.
    """
    rows, kept = _Rows(predictor), list[int]()
    areas = np.full(len(dataset), np.nan)

    def encoded(index: int) -> bytes:
        content = dataset.encoded(index)
        with contextlib.suppress(ImageError):  # the predictor will say it
            header = read_header(content)
            areas[index] = header.width * header.height
        return content

    progress.start("evaluate", len(dataset), "images")
    try:
        for batch in prepared(predictor, encoded, len(dataset)):
            good = [(i, item) for i, item in batch if not isinstance(item, ImageError)]
            for i, item in batch:
                if isinstance(item, ImageError):
                    name = dataset.samples[i].name
                    quarantined.append(LeftOut(name, item.reason, item.detail))
                    progress.say("quarantined", path=name, reason=item.reason)
            if good:
                rows.add(np.stack([item for _, item in good]))
                kept += [i for i, _ in good]
            progress.advance(len(batch))
    finally:
        progress.finish()
    probabilities = rows.get("probabilities")
    if probabilities is None:
        return None
    measures = {name: _measure(rows, name) for name in (BRIGHTNESS, CONTRAST)}
    return Inferred(
        probabilities=np.asarray(probabilities, dtype=np.float32),
        logits=_float32(rows.get("logits")),
        familiarity=_float64(rows.get("familiarity")),
        measures={SIZE: np.sqrt(areas[kept]), **measures},
        kept=kept,
    )


def _measure(rows: _Rows, name: str) -> NDArray[np.float64]:
    values = rows.get(name)
    return np.zeros(0) if values is None else np.asarray(values, dtype=np.float64)


def _float32(values: NDArray[np.floating] | None) -> Scores | None:
    return None if values is None else np.asarray(values, dtype=np.float32)


def _float64(values: NDArray[np.floating] | None) -> Familiarity | None:
    return None if values is None else np.asarray(values, dtype=np.float64)
