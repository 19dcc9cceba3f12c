"""What the figures do not say: the honest limits of one evaluation, in sentences."""

from __future__ import annotations

from clearsight.core.nouns import Task
from clearsight.evaluate.evaluation import Evaluation

FEW_PICTURES = 10


def limits(evaluation: Evaluation, part: str | None = None) -> list[str]:
    """Return what a reader must know before believing the figures.

    Args:
        evaluation: what was found.
        part: "test", "val", "all", or None when unknown.
    """
    figures = evaluation.figures
    accuracy = figures.measures["accuracy"]
    found = []
    if part == "val":
        found.append(
            "These pictures also served to choose and to calibrate the model, so the figures are "
            "flattering. Score it on pictures that training never saw."
        )
    if accuracy.high - accuracy.low > 0.1:
        width = 100 * (accuracy.high - accuracy.low)
        found.append(
            f"{figures.n} pictures leave the accuracy uncertain by {width:.0f} points. "
            "Differences smaller than that mean nothing."
        )
    few = [name for name, score in figures.per_class.items() if 0 < score.n < FEW_PICTURES]
    if few:
        found.append(
            f"{_classes(few)} fewer than {FEW_PICTURES} pictures here: "
            f"{_list(few)}. Their figures are hints."
        )
    absent = [name for name, score in figures.per_class.items() if score.n == 0]
    if absent:
        found.append(
            f"{_classes(absent)} no picture here and could not be judged: {_list(absent)}."
        )
    if evaluation.quarantined:
        found.append(
            f"{len(evaluation.quarantined)} files of the data set could not be decoded and are in "
            "no figure."
        )
    told = evaluation.selective
    rejects = told is not None and told.threshold is not None
    return [*found, *_always(len(figures.classes), figures.task, rejects)]


def _always(classes: int, task: Task, rejects: bool) -> list[str]:
    answers = (
        f"The recognizer always answers with one of its {classes} classes, also for a picture "
        "that shows none of them."
    )
    if task == "multi-label":
        answers = f"The recognizer knows {classes} classes; what is none of them it cannot name."
    elif rejects:
        answers += (
            " Most of these it marks as not accepted; how many depends on what they show, and no "
            "picture of the data says it."
        )
    return [
        "The figures hold for pictures that come about as these did: the same cameras, places, "
        "seasons and people. Measure again when any of that changes.",
        answers,
        "Wrong labels in the data count as mistakes of the recognizer. Look at the most confident "
        "mistakes: some of them may be right.",
        "Fog, blur, compression, attacks and other disturbances were not tested here.",
    ]


def _classes(names: list[str]) -> str:
    return "One class has" if len(names) == 1 else f"{len(names)} classes have"


def _list(names: list[str]) -> str:
    first, last = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
    shown = ", ".join(f"{first}{name}{last}" for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
