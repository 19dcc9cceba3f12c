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
from clearsight.evaluate.figures import figures
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
        reliability=reliability(scored.confidence, scored.correct),
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
    columns = _match(tuple(predictor.classes), dataset)
    rows, kept = _infer(predictor, dataset, progress, quarantined)
    if not kept:
        raise DataError(
            f"{dataset.root} holds no picture that can be scored: {len(quarantined)} quarantined, "
            f"{len(dataset.skipped)} skipped. Run 'clearsight check' on it."
        )
    labels = np.array([columns[dataset.samples[i].label] for i in kept], dtype=np.int64)
    return Scored(np.concatenate(rows), labels), kept


def _match(classes: Sequence[str], dataset: Dataset) -> dict[int, int]:
    """Return the recognizer's column for each of the data set's labels that occur, by name."""
    place = {name: column for column, name in enumerate(classes)}
    occurring = sorted({sample.label for sample in dataset.samples})
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
    raw = Scored(untempered(scored.probabilities, temperature), scored.labels)
    return reliability(raw.confidence, raw.correct)


def _mistakes(
    scored: Scored, classes: Sequence[str], dataset: Dataset, kept: list[int]
) -> tuple[Case, ...]:
    wrong = np.flatnonzero(~scored.correct)
    order = wrong[np.argsort(-scored.confidence[wrong], kind="stable")]
    return _cases(order[:MISTAKES], scored, classes, dataset, kept)


def _successes(
    scored: Scored, classes: Sequence[str], dataset: Dataset, kept: list[int]
) -> tuple[Case, ...]:
    """Return the surest right answer of each of a few classes, spread evenly over the list."""
    right = np.flatnonzero(scored.correct)
    order = right[np.argsort(-scored.confidence[right], kind="stable")]
    _, first = np.unique(scored.labels[order], return_index=True)
    chosen = np.linspace(0, len(first) - 1, min(SUCCESSES, len(first))).round().astype(np.int64)
    return _cases(order[first[chosen]], scored, classes, dataset, kept)


def _cases(
    rows: NDArray[np.int64],
    scored: Scored,
    classes: Sequence[str],
    dataset: Dataset,
    kept: list[int],
) -> tuple[Case, ...]:
    return tuple(
        Case(
            index=kept[row],
            name=dataset.samples[kept[row]].name,
            truth=classes[scored.labels[row]],
            predicted=classes[scored.predicted[row]],
            score=float(scored.confidence[row]),
            truth_score=float(scored.truth_probability[row]),
        )
        for row in rows
    )
