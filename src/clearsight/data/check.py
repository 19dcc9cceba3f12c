"""Look at a data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

from clearsight.core.config import Config
from clearsight.core.errors import DataError, ImageError
from clearsight.core.progress import Progress, Silent
from clearsight.data.cache import prepare_all
from clearsight.data.dataset import Dataset, Quarantined, read_dataset
from clearsight.data.issue import CHECKS, Issue
from clearsight.data.source import ArraySource
from clearsight.data.split import require_trainable


class CheckReport(Config):
    """What `clearsight check` prints with --json; found = used + quarantined + skipped.

    Args:
        found: everything that was found.
        used: pictures that can be trained on.
        quarantined: damaged pictures; each is an issue of the kind "unreadable".
        skipped: everything else.
        classes: pictures used of each class.
        issues: what the checks report.
        skipped_entries: name and reason of everything skipped.
        obstacle: why nothing can be trained on it; empty when it can.
    """

    found: int
    used: int
    quarantined: int
    skipped: int
    classes: dict[str, int]
    issues: tuple[Issue, ...]
    skipped_entries: tuple[tuple[str, str], ...] = ()
    obstacle: str = ""


def check_dataset(
    path: Path | str, reader: str | None = None, progress: Progress | None = None
) -> CheckReport:
    """Read a data set, decode every picture once and run every check.

    Args:
        path: a folder, or a manifest file.
        reader: a key of `readers/`; found out from the layout when None.
        progress: told the number of pictures done.

    Raises:
        DataError: nothing usable was found, or parts and classes contradict each other.
    """
    dataset = find_damaged(read_dataset(path, reader), progress)
    issues = [issue for key in CHECKS.keys() for issue in CHECKS.load(key)(dataset)]  # noqa: SIM118
    return CheckReport(
        found=dataset.found,
        used=len(dataset),
        quarantined=len(dataset.quarantined),
        skipped=len(dataset.skipped),
        classes=dict(zip(dataset.classes, dataset.counts(), strict=True)),
        issues=tuple(issues),
        skipped_entries=tuple((item.name, item.reason) for item in dataset.skipped),
        obstacle=_obstacle(dataset),
    )


def _obstacle(dataset: Dataset) -> str:
    try:
        require_trainable(dataset)
    except DataError as error:
        return str(error)
    return ""


def find_damaged(dataset: Dataset, progress: Progress | None = None) -> Dataset:
    """Decode every picture and move those that cannot be decoded to the quarantine.

    Args:
        dataset: the pictures.
        progress: told the number of pictures done.
    """
    if isinstance(dataset.source, ArraySource):
        return dataset
    progress = progress or Silent()
    progress.start("check", len(dataset), "images")
    damaged = []
    for sample, result in zip(dataset.samples, prepare_all(dataset, None), strict=True):
        if isinstance(result, ImageError):
            damaged.append(Quarantined(sample.name, result.reason, result.detail))
        progress.advance(1)
    progress.finish()
    return dataset.quarantine(damaged)
