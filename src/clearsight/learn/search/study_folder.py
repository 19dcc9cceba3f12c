"""The STUDY folder: what was asked for, whose study it is, and who is at work on it.

STUDY/study.json      what was asked for, and when finished what was found
STUDY/study.sqlite3   every trial, on disk as soon as it ends
STUDY/best.json       the best settings, as `train --config` takes them
STUDY/best/           a RUN with the best recognizer
STUDY/work/           pixels and the best trained model so far; removed at the end
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError, DataError, StorageError, UsageError
from clearsight.core.files import TEMPORARY_PREFIX, read_json, storage_errors
from clearsight.core.progress import Progress
from clearsight.data.dataset import Dataset
from clearsight.data.fingerprint import fingerprint
from clearsight.learn.contest import find_candidates
from clearsight.learn.inputs import affordable_parts, find_facts
from clearsight.learn.settings import TrainSettings
from clearsight.learn.train import divide

TRIALS = 20
"""Without --trials the time is divided as if for so many; more follow when some are pruned."""
SEARCH_SHARE = 0.7
"""Part of the time for trials; the rest is for training the best setting longer."""


class StudyRecord(Config):
    """STUDY/study.json.

    Args:
        state: "searching" until the best run is on disk, then "done".
        data: absolute path of the data set.
        fingerprint: of the data set's content, labels and parts.
        settings: what all trials share.
        models: what is searched over.
        trials: how many trials end the search, or None.
        pictures: how many pictures of "train" and "val" are used.
        outcome: what was found; empty while searching.
    """

    state: str
    data: str
    fingerprint: str
    settings: TrainSettings
    models: tuple[str, ...]
    trials: int | None = Field(default=None, ge=1)
    pictures: dict[str, int] = Field(default_factory=dict)
    outcome: dict[str, Any] = Field(default_factory=dict)


def open_study(out: Path, resume: bool) -> StudyRecord | None:
    """Return the record of the study to resume, or None for a new one.

    Raises:
        UsageError: the folder is in use, or holds nothing to resume.
        StorageError: the record is damaged.
    """
    path = out / "study.json"
    if not path.is_file():
        if resume:
            raise UsageError(f"{out} holds no study to resume. Start one without --resume.")
        with storage_errors(out):
            used = out.exists() and any(
                not entry.name.startswith(TEMPORARY_PREFIX) for entry in out.iterdir()
            )
        if used:
            raise UsageError(f"{out} is not empty and holds no study. Choose another --out.")
        return None
    values = read_json(path)
    if not isinstance(values, dict):
        raise StorageError(f"{path} is damaged. Start a new study with another --out.")
    record = StudyRecord.parse(values)
    if not resume:
        what = "a finished" if record.state == "done" else "an unfinished"
        hint = "" if record.state == "done" else " or continue it with --resume"
        raise UsageError(f"{out} holds {what} study. Choose another --out{hint}.")
    return record


def begin_study(
    data: Path,
    settings: TrainSettings,
    models: Sequence[str],
    trials: int | None,
    progress: Progress,
) -> tuple[Dataset, StudyRecord]:
    """Return the split data set and the record of a new study; nothing is written.

    Args:
        data: the data set.
        settings: what all trials share.
        models: what to search over; none takes those that `auto` knows for such pictures.
        trials: how many end the search, or None.
        progress: told what does not fit the time.

    Raises:
        DataError: the data set cannot be used.
        UnknownKeyError, ConfigError: a model or an option is wrong.
    """
    if settings.ensemble_cost > 1:
        raise ConfigError("ensemble_cost would do nothing in a study: it keeps one recognizer.")
    dataset = divide(data, settings)
    parts = affordable_parts(dataset, settings, progress)
    facts = find_facts(parts, settings)
    asked = tuple(models) or (settings.model,)
    found = {
        model: find_candidates(settings.model_copy(update={"model": model}), facts)
        for model in dict.fromkeys(asked)
    }
    searched = [one.key for one in found.pop("auto", [])] + list(found)
    record = StudyRecord(
        state="searching",
        data=str(data.resolve()),
        fingerprint=fingerprint(dataset),
        settings=settings.model_copy(update={"model": "auto"}),
        models=tuple(dict.fromkeys(searched)),
        trials=trials,
        pictures={name: len(part) for name, part in parts.items()},
    )
    return dataset, record


def check_same_settings(
    record: StudyRecord, settings: TrainSettings | None, models: Sequence[str], trials: int | None
) -> None:
    """Refuse to go on with settings that are not those the study began with.

    Raises:
        UsageError: they differ; the message says where.
    """
    differ = []
    if settings is not None:
        given, known = settings.model_dump(), record.settings.model_dump()
        differ = [name for name in given if name != "model" and given[name] != known[name]]
    if models and tuple(dict.fromkeys(models)) != record.models:
        differ.append("model")
    if trials is not None and trials != record.trials:
        differ.append("trials")
    if differ:
        raise UsageError(
            f"This study began with other settings ({', '.join(differ)}). Leave them out to "
            "continue it, or start a new study with another --out."
        )


def same_data(data: Path, record: StudyRecord) -> Dataset:
    """Split the data as the study did.

    Raises:
        DataError: it is not the data that the study began with.
    """
    dataset = divide(data, record.settings)
    if fingerprint(dataset) != record.fingerprint:
        raise DataError(
            f"{data} is not what this study began with ({record.data}): its pictures, labels or "
            "parts differ. Give the same DATA, or start a new study with another --out."
        )
    return dataset


def parts_of(dataset: Dataset) -> dict[str, Dataset]:
    """Return the training and validation parts."""
    return {"train": dataset.part("train"), "val": dataset.part("val")}


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the study, so that a trial found running is known to be of a dead process.

    Raises:
        UsageError: another process is at work on it.
    """
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with open(out / "lock", "a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(f"Another process is at work on the study in {out}.") from error
            yield


def trial_s(record: StudyRecord) -> float | None:
    """Return the seconds that one trial may take, or None."""
    if record.settings.time_s is None:
        return None
    return SEARCH_SHARE * record.settings.time_s / (record.trials or TRIALS)
