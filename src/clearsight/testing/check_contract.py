"""What every data check in `data/checks/` must satisfy."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clearsight.data.dataset import Dataset, read_dataset
from clearsight.data.issue import CHECKS, Issue
from clearsight.testing.contract import Contract


def _png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def clean_data(folder: Path) -> Dataset:
    """Return two classes of twelve different pictures: no check may report anything."""
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for index in range(12):
            (folder / name / f"{index}.png").write_bytes(_png(100 * label + index))
    return read_dataset(folder)


def bad_data(folder: Path) -> Dataset:
    """Return data with something for every check: twins, copies, a conflict, damage, few."""
    clean_data(folder)
    (folder / "Dog").mkdir()
    (folder / "Dog" / "0.png").write_bytes(_png(1))  # also cat/1.png
    (folder / "cat" / "copy.png").write_bytes(_png(2))
    (folder / "cat" / "cut.png").write_bytes(_png(3)[:20])
    return read_dataset(folder)


class CheckContract(Contract):
    """Silent on clean data, loud on bad data, deterministic, changes nothing, names real things."""

    registry = CHECKS

    def check_silent_on_clean_data(self, check: Any) -> None:
        """No false alarm."""
        with tempfile.TemporaryDirectory() as folder:
            assert check(clean_data(Path(folder) / "data")) == []

    def check_reports_bad_data(self, check: Any) -> None:
        """At least one issue where there is something for every check."""
        with tempfile.TemporaryDirectory() as folder:
            assert check(bad_data(Path(folder) / "data"))

    def check_names_real_things(self, check: Any) -> None:
        """Every issue names a picture or class of the data set, and says what to know."""
        with tempfile.TemporaryDirectory() as folder:
            data = bad_data(Path(folder) / "data")
            known = {sample.name for sample in data.samples} | {*data.classes}
            known |= {item.name for item in data.quarantined}
            for issue in check(data):
                assert isinstance(issue, Issue)
                assert issue.kind
                assert issue.detail
                assert issue.path in known
                assert issue.other in known or not issue.other

    def check_same_report_twice(self, check: Any) -> None:
        """Deterministic."""
        with tempfile.TemporaryDirectory() as folder:
            data = bad_data(Path(folder) / "data")
            assert check(data) == check(data)

    def check_survives_no_pictures(self, check: Any) -> None:
        """An empty data set is looked at without an error."""
        with tempfile.TemporaryDirectory() as folder:
            data = clean_data(Path(folder) / "data")
            assert isinstance(check(replace(data, samples=(), classes=())), list)

    def check_survives_vanished_files(self, check: Any) -> None:
        """Files that disappear while the check runs do not stop it."""
        with tempfile.TemporaryDirectory() as folder:
            data = bad_data(Path(folder) / "data")
            for sample in data.samples:
                (data.root / sample.name).unlink()
            assert isinstance(check(data), list)

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        calls: list[int] = []

        def alarm(data: Dataset) -> list[Issue]:
            return [Issue(kind="alarm", path=data.samples[0].name, detail="always")]

        def dumb(data: Dataset) -> list[Issue]:
            return []

        def invents(data: Dataset) -> list[Issue]:
            return [Issue(kind="ghost", path="no/such.png", detail="x")]

        def changes(data: Dataset) -> list[Issue]:
            calls.append(1)
            return [Issue(kind="count", path=data.classes[0], detail=str(len(calls)))]

        def opens(data: Dataset) -> list[Issue]:
            _ = [data.encoded(index) for index in range(len(data))]
            return []

        return {
            "check_silent_on_clean_data": alarm,
            "check_reports_bad_data": dumb,
            "check_names_real_things": invents,
            "check_same_report_twice": changes,
            "check_survives_no_pictures": alarm,
            "check_survives_vanished_files": opens,
        }
