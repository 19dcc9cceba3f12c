"""Pictures with any number of classes: the manifest column `labels` and what follows from it."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from clearsight.core.errors import DataError
from clearsight.data.dataset import read_dataset
from clearsight.data.fingerprint import fingerprint
from clearsight.data.split import split

CELLS = ["red|green", "red", "", "蓝色|red| green ", "green|green"]
NAMES = [("green", "red"), ("red",), (), ("green", "red", "蓝色"), ("green",)]


def pictures(folder, n):
    for number in range(n):
        pixels = np.full((8, 8, 3), number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def csv_of(folder, cells, column="labels"):
    pictures(folder, len(cells))
    lines = [f"path,{column}", *(f"{number}.png,{cell}" for number, cell in enumerate(cells))]
    path = folder / "data.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_cells_become_sets_of_classes(tmp_path):
    data = read_dataset(csv_of(tmp_path, CELLS))
    assert data.task == "multi-label"
    assert data.classes == ("green", "red", "蓝色")
    assert [data.label_names(index) for index in range(5)] == NAMES
    assert data.targets().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1], [1, 0, 0]]
    assert data.targets([4]).tolist() == [[1, 0, 0]]
    assert data.counts() == (3, 3, 1)
    assert data.strata() == [0, 1, -1, 2, 0]


def test_json_lines_hold_lists(tmp_path):
    pictures(tmp_path, 3)
    path = tmp_path / "data.jsonl"
    rows = [["a", "b"], [], ["b", 7]]
    lines = [json.dumps({"path": f"{n}.png", "labels": row}) for n, row in enumerate(rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    data = read_dataset(path)
    assert data.task == "multi-label"
    assert [data.label_names(index) for index in range(3)] == [("a", "b"), (), ("7", "b")]


def test_a_list_with_something_else_is_skipped_with_the_line(tmp_path):
    pictures(tmp_path, 2)
    path = tmp_path / "data.jsonl"
    rows = [["a"], ["a", {"b": 1}]]
    lines = [json.dumps({"path": f"{n}.png", "labels": row}) for n, row in enumerate(rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    data = read_dataset(path)
    assert len(data) == 1
    assert "line 2" in data.skipped[0].reason


def test_one_label_a_picture_is_still_one_label(tmp_path):
    data = read_dataset(csv_of(tmp_path, ["a", "b"], column="label"))
    assert data.task == "single-label"
    assert data.targets().tolist() == [0, 1]


def test_both_columns_are_refused(tmp_path):
    pictures(tmp_path, 1)
    path = tmp_path / "data.csv"
    path.write_text("path,label,labels\n0.png,a,a\n", encoding="utf-8")
    with pytest.raises(DataError, match="both 'label' and 'labels'"):
        read_dataset(path)


def test_the_same_picture_with_other_labels_is_refused(tmp_path):
    pictures(tmp_path, 1)
    path = tmp_path / "data.csv"
    path.write_text("path,labels\n0.png,a\n0.png,a|b\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3"):
        read_dataset(path)


def test_every_part_gets_the_rare_class(tmp_path):
    cells = ["common"] * 60 + ["common|rare"] * 6 + [""] * 6
    data = split(read_dataset(csv_of(tmp_path, cells)), seed=3)
    rare = Counter(
        sample.part for i, sample in enumerate(data.samples) if "rare" in data.label_names(i)
    )
    assert set(rare) == {"train", "val", "test"}
    assert sum(rare.values()) == 6


def test_labels_belong_to_the_fingerprint(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = fingerprint(read_dataset(csv_of(tmp_path / "one", ["a|b", "a", "b"])))
    other = fingerprint(read_dataset(csv_of(tmp_path / "other", ["a", "a|b", "b"])))
    assert one != other


def test_further_columns_say_more_of_a_picture(tmp_path):
    pictures(tmp_path, 2)
    (tmp_path / "a.csv").write_text(
        "path,label,camera,note,part\n0.png,cat,old,,train\n1.png,dog,new,x,train\n"
    )
    first, second = read_dataset(tmp_path / "a.csv").samples
    assert first.columns == (("camera", "old"),)
    assert second.columns == (("camera", "new"), ("note", "x"))
    rows = [
        {"path": "0.png", "label": "cat", "lux": 3.5, "night": True, "where": {"x": 1}},
        {"path": "1.png", "label": "dog", "lux": 7, "note": "y" * 201},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = split(read_dataset(tmp_path / "a.jsonl"), 0, (1.0, 0.0, 0.0)).samples
    assert first.columns == (("lux", "3.5"), ("night", "yes"))
    assert second.columns == (("lux", "7"),), "what is no short text says nothing"
