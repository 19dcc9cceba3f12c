"""The RUN folder: what `train` writes beside the Bundle, and how a killed run is recognised.

RUN/run.json      settings, data path, state and, when finished, what was learnt
RUN/splits.jsonl  every picture with its label and part, and every one left out with the reason
RUN/bundle/       the Bundle; it appears only when it is complete and has passed the gate
RUN/augmentation.png  training pictures as they are and as the network saw them, if it changed them
RUN/card.md, card.html  what is known of the recognizer by now; see `api.cards`
RUN/work/         checkpoints and pixel caches; removed when the Bundle is on disk
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.errors import DataError, StorageError, UsageError
from clearsight.core.files import (
    TEMPORARY_PREFIX,
    read_json,
    remove_litter,
    storage_errors,
    write_bytes,
    write_json,
    write_text,
)
from clearsight.data.dataset import Dataset
from clearsight.learn.settings import TrainSettings


class RunRecord(Config):
    """RUN/run.json.

    Args:
        state: "training" until the Bundle is on disk, then "done".
        data: absolute path of the data set.
        fingerprint: of the data set's content, labels and parts.
        settings: the resolved settings.
        pictures: how many pictures of "train" and "val" are used (the time may allow only some).
        outcome: family, choice, seconds, validation figures; empty while training.
    """

    state: str
    data: str
    fingerprint: str
    settings: TrainSettings
    pictures: dict[str, int] = Field(default_factory=dict)
    outcome: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class RunFolder:
    """Paths and records of one RUN.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def work(self) -> Path:
        """Checkpoints and caches of an unfinished training."""
        return self.path / "work"

    @property
    def bundle(self) -> Path:
        """Where the Bundle stands once it is complete."""
        return self.path / "bundle"

    @property
    def sheet(self) -> Path:
        """The picture of changed training pictures, where training changed any."""
        return self.path / "augmentation.png"

    def open(self, resume: bool) -> RunRecord | None:
        """Return the record of the run to resume, if any; nothing is written.

        Raises:
            UsageError: the folder is in use and `resume` was not asked for, or the other way.
        """
        record = self.read() if (self.path / "run.json").is_file() else None
        if record is None and self._in_use():
            raise UsageError(
                f"{self.path} is not empty and holds no run. Choose another --out; "
                "nothing was changed."
            )
        if record is not None and not resume:
            what = "a finished run" if record.state == "done" else "an unfinished run"
            hint = "" if record.state == "done" else " or continue it with --resume"
            raise UsageError(f"{self.path} holds {what}. Choose another --out{hint}.")
        if record is None and resume:
            raise UsageError(f"{self.path} holds no run to resume. Start one without --resume.")
        return record

    def begin(self, record: RunRecord) -> None:
        """Make the folder, write the record, and clear what a killed run left half done.

        A Bundle beside an unfinished record was written a moment before the kill; it is made again.
        """
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            remove_litter(self.path)
            if self.bundle.exists():
                shutil.rmtree(self.bundle)
        self.write(record)
        with storage_errors(self.work):
            self.work.mkdir(exist_ok=True)

    def _in_use(self) -> bool:
        with storage_errors(self.path):
            if not self.path.exists():
                return False
            return any(not e.name.startswith(TEMPORARY_PREFIX) for e in self.path.iterdir())

    def read(self) -> RunRecord:
        """Read RUN/run.json.

        Raises:
            StorageError: it is damaged.
        """
        values = read_json(self.path / "run.json")
        if not isinstance(values, dict):
            raise StorageError(f"{self.path}/run.json is damaged. Train into a new folder.")
        return RunRecord.parse(values)

    def write(self, record: RunRecord) -> None:
        """Write RUN/run.json crash-safely."""
        write_json(self.path / "run.json", record.model_dump(mode="json"))

    def write_splits(self, dataset: Dataset) -> None:
        """Write RUN/splits.jsonl: one line a picture, found = used + quarantined + skipped."""
        lines: list[dict[str, Any]] = [
            {"name": sample.name, **_labels(dataset, index), "part": sample.part}
            for index, sample in enumerate(dataset.samples)
        ]
        lines += [
            {"name": item.name, "quarantined": item.reason, "detail": item.detail}
            for item in dataset.quarantined
        ]
        lines += [{"name": item.name, "skipped": item.reason} for item in dataset.skipped]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(self.path / "splits.jsonl", text)

    def keep_sheet(self, story: Mapping[str, Any]) -> None:
        """Keep the picture that a story names ("augmentation", "sheet") and training drew."""
        name = (story.get("augmentation") or {}).get("sheet")
        drawn = next(self.work.rglob(name), None) if name else None
        if drawn is not None:
            write_bytes(self.sheet, drawn.read_bytes())

    def finish(self, record: RunRecord) -> None:
        """Mark the run as done and remove its work files."""
        self.write(record)
        shutil.rmtree(self.work, ignore_errors=True)


def _labels(dataset: Dataset, index: int) -> dict[str, Any]:
    names = dataset.label_names(index)
    return {"labels": list(names)} if dataset.task == "multi-label" else {"label": names[0]}


def check_same_data(record: RunRecord, fingerprint: str) -> None:
    """Refuse to resume or score on pictures that are not those the run began with.

    Raises:
        DataError: the data set is not what the run began with.
    """
    if record.fingerprint != fingerprint:
        raise DataError(
            f"{record.data} has changed since this run began: its pictures, labels or parts differ "
            "and the held-out part is not the same. Restore the pictures, name other DATA, or "
            "start a new run with another --out."
        )
