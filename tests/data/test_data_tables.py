"""Tables read back as what was written, in any script."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from clearsight.core.errors import StorageError, UsageError
from clearsight.data.tables import check_table_path, write_table

ROWS = [
    {
        "path": '猫/a,b\n"c".png',
        "label": "猫",
        "score": 0.25,
        "scores": {"猫": 0.25},
        "accepted": True,
        "error": None,
    },
    {
        "path": "x.png",
        "label": None,
        "score": None,
        "scores": None,
        "accepted": None,
        "error": "empty",
    },
]


def test_csv(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", ROWS)
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert first["path"] == ROWS[0]["path"]
    assert json.loads(first["scores"]) == {"猫": 0.25}
    assert (first["accepted"], second["label"], second["error"]) == ("true", "", "empty")


def test_jsonl(tmp_path: Path) -> None:
    write_table(tmp_path / "t.jsonl", ROWS)
    lines = (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "t.parquet", ROWS)
    rows = parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert rows[0]["label"] == "猫"
    assert json.loads(rows[0]["scores"]) == {"猫": 0.25}
    assert rows[1]["error"] == "empty"


@pytest.mark.parametrize("name", ["t.xlsx", "t", "missing/t.csv"])
def test_a_table_that_cannot_be_written_is_refused_first(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        check_table_path(tmp_path / name)


def test_the_old_table_survives_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "t.csv"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clearsight.core.files.os.fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        write_table(target, ROWS)
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.csv"]
