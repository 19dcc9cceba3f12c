"""Scores a data set with a recognizer: decode in threads, infer in batches, count everything."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import DataError, ImageError
from clearsight.core.nouns import Predictor, Scores
from clearsight.core.progress import Progress, Silent
from clearsight.data.dataset import Dataset
from clearsight.evaluate.evaluation import Case, Evaluation, LeftOut
from clearsight.evaluate.figures import figures, scored_as
from clearsight.evaluate.prepared import prepared
from clearsight.evaluate.reliability import Bin, reliability, untempered
from clearsight.evaluate.scored import Scored

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
    scored, kept = score_pictures(predictor, dataset, progress or Silent(), quarantined)
    return Evaluation(
        figures=figures(scored, classes, seed),
        quarantined=tuple(quarantined),
        skipped=tuple(skipped),
        reliability=reliability(scored.confidence, scored.right),
        reliability_before=() if temperature is None else _before(scored, temperature),
        temperature=temperature,
        mistakes=_mistakes(scored, classes, dataset, kept),
        successes=_successes(scored, classes, dataset, kept),
        seconds=time.monotonic() - began,
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
    columns = match_classes(predictor, dataset)
    rows, kept = _infer(predictor, dataset, progress, quarantined)
    if not kept:
        raise DataError(
            f"{dataset.root} holds no picture that can be scored: {len(quarantined)} quarantined, "
            f"{len(dataset.skipped)} skipped. Run 'clearsight check' on it."
        )
    labels = _truth(dataset, kept, columns, predictor)
    return scored_as(predictor.task, np.concatenate(rows), labels), kept


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


def _infer(
    predictor: Predictor,
    dataset: Dataset,
    progress: Progress,
    quarantined: list[LeftOut],
) -> tuple[list[Scores], list[int]]:
    """Return probability rows and the indices they belong to; add what fails to `quarantined`."""
    rows: list[Scores] = []
    kept: list[int] = []
    progress.start("evaluate", len(dataset), "images")
    try:
        for batch in prepared(predictor, dataset.encoded, len(dataset)):
            good = [(i, item) for i, item in batch if not isinstance(item, ImageError)]
            for i, item in batch:
                if isinstance(item, ImageError):
                    name = dataset.samples[i].name
                    quarantined.append(LeftOut(name, item.reason, item.detail))
                    progress.say("quarantined", path=name, reason=item.reason)
            if good:
                rows.append(predictor.probabilities(np.stack([item for _, item in good])))
                kept += [i for i, _ in good]
            progress.advance(len(batch))
    finally:
        progress.finish()
    return rows, kept


def _before(scored: Scored, temperature: float) -> tuple[Bin, ...]:
    before = untempered(scored.probabilities, temperature, scored.task)
    raw = scored_as(scored.task, before, scored.labels)
    return reliability(raw.confidence, raw.right)


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
