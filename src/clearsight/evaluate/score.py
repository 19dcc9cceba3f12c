"""Scores a data set with a recognizer: decode in threads, infer in batches, count everything."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clearsight.core.calibration import probabilities
from clearsight.core.errors import DataError
from clearsight.core.nouns import Predictor
from clearsight.core.progress import Progress, Silent
from clearsight.data.dataset import Dataset
from clearsight.engines.predictor import BundlePredictor
from clearsight.evaluate.evaluation import Case, Evaluation, LeftOut
from clearsight.evaluate.figures import figures, scored_as
from clearsight.evaluate.inference import Inferred, infer
from clearsight.evaluate.reliability import Bin, reliability, untempered
from clearsight.evaluate.scored import Scored
from clearsight.evaluate.selective import Selective, selective
from clearsight.evaluate.set_figures import SetFigures, set_figures
from clearsight.evaluate.slices import Slice, slices

MISTAKES = 24
SUCCESSES = 12


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    progress: Progress | None = None,
    *,
    temperature: float | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score every picture of a data set and return every figure with its interval.

    Pictures that cannot be decoded are quarantined by name and the rest scored:
    found = n + quarantined + skipped.

    Args:
        predictor: an opened recognizer.
        dataset: pictures with labels; classes are matched to the recognizer's by name.
        progress: told of each batch; None is silent.
        temperature: the recognizer's own (Bundle manifest), to show the calibration without it.
        seed: fixes the bootstrap's draws.

    Raises:
        DataError: no picture that can be decoded, or a class that the recognizer does
            not know.
    """
    began = time.monotonic()
    classes = tuple(predictor.classes)
    skipped = [LeftOut(item.name, item.reason) for item in dataset.skipped]
    quarantined = [LeftOut(q.name, q.reason, q.detail) for q in dataset.quarantined]
    inferred, labels = _score(predictor, dataset, progress or Silent(), quarantined)
    kept, scored = inferred.kept, scored_as(predictor.task, inferred.probabilities, labels)
    return Evaluation(
        figures=figures(scored, classes, seed),
        quarantined=tuple(quarantined),
        skipped=tuple(skipped),
        reliability=reliability(scored.confidence, scored.right),
        reliability_before=() if temperature is None else _before(scored, inferred, temperature),
        temperature=temperature,
        mistakes=_mistakes(scored, classes, dataset, kept),
        successes=_successes(scored, classes, dataset, kept),
        seconds=time.monotonic() - began,
        sets=_sets(predictor, scored, classes),
        selective=_selective(predictor, scored, inferred),
        slices=_slices(scored, inferred, dataset),
    )


def score_pictures(
    predictor: Predictor, dataset: Dataset, progress: Progress, quarantined: list[LeftOut]
) -> tuple[Scored, list[int]]:
    """Return probabilities and true classes of the pictures, and their places in the data set.

    Args:
        predictor: an opened recognizer; the true classes are its columns, matched by name.
        dataset: pictures with labels.
        progress: told of each batch.
        quarantined: what cannot be decoded is added to it.

    Raises:
        DataError: no picture that can be decoded, or a class that the recognizer does
            not know.
    """
    inferred, labels = _score(predictor, dataset, progress, quarantined)
    return scored_as(predictor.task, inferred.probabilities, labels), inferred.kept


def _score(
    predictor: Predictor, dataset: Dataset, progress: Progress, quarantined: list[LeftOut]
) -> tuple[Inferred, NDArray[np.int64]]:
    """Return what the recognizer gave and the true classes; see `score_pictures`."""
    columns = match_classes(predictor, dataset)
    inferred = infer(predictor, dataset, progress, quarantined)
    if inferred is None:
        raise DataError(
            f"{dataset.root} holds no picture that can be scored: {len(quarantined)} quarantined, "
            f"{len(dataset.skipped)} skipped. Run 'clearsight check' on it."
        )
    return inferred, _truth(dataset, inferred.kept, columns, predictor)


def _truth(
    dataset: Dataset, kept: list[int], columns: dict[int, int], predictor: Predictor
) -> NDArray[np.int64]:
    """Return the labels of the kept pictures in the recognizer's columns; see `scored_as`."""
    if predictor.task != "multi-label":
        return np.array([columns[dataset.samples[i].label] for i in kept], dtype=np.int64)
    truth = np.zeros((len(kept), len(predictor.classes)), dtype=np.int64)
    for row, index in enumerate(kept):
        truth[row, [columns[label] for label in dataset.samples[index].labels]] = 1
    return truth


def _check_task(predictor: Predictor, dataset: Dataset) -> None:
    if (predictor.task == "multi-label") != (dataset.task == "multi-label"):
        raise DataError(
            f"The recognizer is {predictor.task}, the labels of {dataset.root} are {dataset.task}. "
            "Give pictures labelled as those it was trained on."
        )


def match_classes(predictor: Predictor, dataset: Dataset) -> dict[int, int]:
    """Return the recognizer's column for each of the data set's labels that occur, by name.

    Raises:
        DataError: a class that the recognizer does not know, or labels of another kind.
    """
    _check_task(predictor, dataset)
    classes = tuple(predictor.classes)
    place = {name: column for column, name in enumerate(classes)}
    occurring = sorted({label for sample in dataset.samples for label in sample.labels})
    unknown = [dataset.classes[label] for label in occurring if dataset.classes[label] not in place]
    if unknown:
        raise DataError(
            f"{dataset.root} has {len(unknown)} of {len(occurring)} classes that the recognizer "
            f"does not know: {'; '.join(_hint(name, classes) for name in unknown[:10])}"
            f"{' ...' if len(unknown) > 10 else ''}. It knows {len(classes)}: "
            f"{', '.join(classes[:20])}{' ...' if len(classes) > 20 else ''}. "
            "Rename or remove these folders, or train again with them."
        )
    return {label: place[dataset.classes[label]] for label in occurring}


def _hint(name: str, classes: Sequence[str]) -> str:
    folded = {known.casefold(): known for known in classes}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"{name!r} (nearest: {folded[close[0]]!r})" if close else repr(name)


def _before(scored: Scored, inferred: Inferred, temperature: float) -> tuple[Bin, ...]:
    if inferred.logits is None:
        before = untempered(scored.probabilities, temperature, scored.task)
    else:
        before = probabilities(inferred.logits, 1.0, scored.task)
    raw = scored_as(scored.task, before, scored.labels)
    return reliability(raw.confidence, raw.right)


def _sets(predictor: Predictor, scored: Scored, classes: Sequence[str]) -> tuple[SetFigures, ...]:
    if not isinstance(predictor, BundlePredictor) or predictor.manifest.conformal is None:
        return ()
    return set_figures(predictor.manifest.conformal, scored, classes)


def _selective(predictor: Predictor, scored: Scored, inferred: Inferred) -> Selective | None:
    if scored.task == "multi-label":
        return None
    if isinstance(predictor, BundlePredictor) and inferred.familiarity is not None:
        return selective(inferred.familiarity, scored.correct, predictor.manifest.rejection)
    return selective(scored.confidence, scored.correct, None)


def _slices(scored: Scored, inferred: Inferred, dataset: Dataset) -> tuple[Slice, ...]:
    told = [dict(dataset.samples[index].columns) for index in inferred.kept]
    names = sorted({name for columns in told for name in columns})
    texts = {name: [columns.get(name) for columns in told] for name in names}
    return slices(inferred.measures, texts, scored.correct)


def _mistakes(
    scored: Scored, classes: Sequence[str], dataset: Dataset, kept: list[int]
) -> tuple[Case, ...]:
    wrong = np.flatnonzero(~scored.correct)
    order = wrong[np.argsort(-_sureness(scored)[wrong], kind="stable")]
    return _cases(order[:MISTAKES], scored, classes, dataset, kept)


def _successes(
    scored: Scored, classes: Sequence[str], dataset: Dataset, kept: list[int]
) -> tuple[Case, ...]:
    """Return the surest right answer of each of a few classes, spread evenly over the list."""
    right = np.flatnonzero(scored.correct)
    order = right[np.argsort(-_sureness(scored)[right], kind="stable")]
    _, first = np.unique(scored.labels[order], axis=0, return_index=True)
    chosen = np.linspace(0, len(first) - 1, min(SUCCESSES, len(first))).round().astype(np.int64)
    return _cases(order[first[chosen]], scored, classes, dataset, kept)


def _cases(
    rows: NDArray[np.int64],
    scored: Scored,
    classes: Sequence[str],
    dataset: Dataset,
    kept: list[int],
) -> tuple[Case, ...]:
    sureness = _sureness(scored)
    return tuple(
        Case(
            index=kept[row],
            name=dataset.samples[kept[row]].name,
            truth=_named(scored.labels[row], classes),
            predicted=_named(scored.predicted[row], classes),
            score=float(sureness[row]),
            truth_score=float(np.min(scored.truth_probability[row])),
        )
        for row in rows
    )


def _sureness(scored: Scored) -> NDArray[np.float64]:
    """Return (n,): the answer's probability; of several, the surest wrong one, else the least."""
    if scored.confidence.ndim == 1:
        return scored.confidence
    wrong = np.where(scored.right, 0.0, scored.confidence).max(axis=1)
    return np.asarray(np.where(scored.correct, scored.confidence.min(axis=1), wrong))


def _named(answer: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Return a class's name; of several, all of them."""
    if answer.ndim == 0:
        return classes[int(answer)]
    return " + ".join(classes[column] for column in np.flatnonzero(answer).tolist()) or "(none)"
