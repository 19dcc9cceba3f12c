"""The RUN folder never mixes two runs and never loses one."""

from __future__ import annotations

from pathlib import Path

import pytest

from clearsight.core.errors import ClearsightError, DataError, StorageError, UsageError
from clearsight.learn.run_folder import RunFolder, RunRecord, check_same_data
from clearsight.learn.settings import DEFAULT_TIME_S, TrainSettings


def record(state: str = "training") -> RunRecord:
    return RunRecord(state=state, data="photos", fingerprint="ab", settings=TrainSettings())


def test_a_new_folder_opens_and_a_used_one_does_not(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.open(resume=False) is None
    assert not (tmp_path / "run").exists()
    folder.begin(record())
    with pytest.raises(UsageError, match="--resume"):
        folder.open(resume=False)
    assert folder.open(resume=True) == record()


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(record())
    folder.finish(record("done"))
    assert not folder.work.exists()
    with pytest.raises(UsageError, match="finished run"):
        folder.open(resume=False)


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        RunFolder(tmp_path).open(resume=False)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        RunFolder(tmp_path / "run").open(resume=True)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"state": "training"}'])
def test_a_damaged_record_is_a_typed_error(tmp_path: Path, content: str) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ClearsightError):
        folder.read()


def test_other_data_is_refused() -> None:
    check_same_data(record(), "ab")
    with pytest.raises(DataError, match="has changed"):
        check_same_data(record(), "cd")


def test_litter_of_a_killed_run_is_removed(tmp_path: Path) -> None:
    litter = tmp_path / ".clearsight-tmp-bundle-0123456789ab"
    litter.mkdir()
    folder = RunFolder(tmp_path)
    assert folder.open(resume=False) is None  # killed before the record was written
    folder.begin(record())
    assert not litter.exists()


def test_a_bundle_of_a_run_that_was_killed_before_its_record_is_made_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(record())
    folder.bundle.mkdir()
    (folder.work / "checkpoint").write_text("kept")
    folder.begin(record())
    assert not folder.bundle.exists()
    assert (folder.work / "checkpoint").read_text() == "kept"


def test_a_budget_is_always_there() -> None:
    assert TrainSettings().time_s == DEFAULT_TIME_S
    assert TrainSettings(epochs=3).time_s is None


def test_storage_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"run\.json"):
        RunFolder(tmp_path / "missing").write(record())
