"""Scores a data set with a recognizer: decode in threads, infer in batches, count everything."""

from __future__ import annotations

from clearsight.core.nouns import Predictor
from clearsight.core.progress import Progress, Silent
from clearsight.data.dataset import Dataset
from clearsight.evaluate.evaluation import Evaluation


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    progress: Progress | None = None,
    *,
    temperature: float | None = None,
) -> Evaluation:
    """Score every labelled picture of a data set and return every figure with its interval.

    Args:
        predictor: an opened recognizer.
        dataset: pictures with labels; classes are matched to the recognizer's by name.
        progress: told of each batch.
        temperature: the recognizer's own (Bundle manifest); shows the calibration without it too.

    Raises:
        DataError: no labelled picture, or a class that the recognizer does not know.
    """
    progress = progress or Silent()
    raise NotImplementedError
