"""Several classes a picture, and classes on a scale: from the manifest to the answer."""

import csv
import json

import numpy as np
import pytest
from flow_support import command
from PIL import Image

SEVERAL = ("square", "stripe", "点")


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """Grey pictures with a square, a stripe and a dot, each there or not."""
    folder, random, rows = tmp_path_factory.mktemp("several"), np.random.default_rng(0), []
    for number in range(300):
        pixels = random.integers(0, 60, (16, 16)).astype(np.uint8)
        there = random.random(3) < (0.5, 0.4, 0.3)
        if there[0]:
            y, x = random.integers(0, 10, 2)
            pixels[y : y + 6, x : x + 6] = 255
        if there[1]:
            pixels[:, random.integers(0, 16)] = 170
        if there[2]:
            y, x = random.integers(0, 14, 2)
            pixels[y : y + 2, x : x + 2] = 0
            pixels[y, x] = 110
        Image.fromarray(pixels).save(folder / f"{number}.png")
        names = [name for name, shown in zip(SEVERAL, there, strict=True) if shown]
        rows.append({"path": f"{number}.png", "labels": "|".join(names)})
    with open(folder / "data.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["path", "labels"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "data.csv"


@pytest.fixture(scope="session")
def scale(tmp_path_factory):
    """Five grades: the brightness of a noisy picture; the middle of two grades looks like both."""
    folder, random = tmp_path_factory.mktemp("scale"), np.random.default_rng(1)
    for grade in range(5):
        (folder / f"grade {grade}").mkdir()
        for number in range(40):
            bright = np.clip(40 + 40 * grade + random.normal(0, 15), 0, 255)
            pixels = np.clip(random.normal(bright, 30, (12, 12)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"grade {grade}" / f"{number}.png")
    return folder


def test_several_classes_a_picture(several, tmp_path):
    run = tmp_path / "run"
    done = command("train", several, "--out", run, "--model", "compact", "--epochs", 12, "--json")
    assert done.code == 0, done.err
    manifest = json.loads((run / "bundle" / "manifest.json").read_text())
    assert manifest["task"] == "multi-label"
    scored = command("evaluate", run, "--json")
    assert scored.code == 0, scored.err
    assert scored.json["task"] == "multi-label"
    assert scored.json["mean_average_precision"] > 0.6  # chance is 0.4
    assert scored.json["per_class"]["square"]["recall"] > 0.8
    assert (run / "report.html").read_text().count("Exact matches") == 1
    out = tmp_path / "rows.jsonl"
    assert command("predict", run, several.parent, "--out", out).code == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert all(set(row["labels"]) <= set(SEVERAL) for row in rows)
    assert all(
        (row["scores"][name] >= 0.5) == (name in row["labels"]) for row in rows for name in SEVERAL
    )


def test_classes_on_a_scale(scale, tmp_path):
    run = tmp_path / "run"
    words = ("--model", "compact", "--epochs", 10, "--set", "task=ordinal", "--json")
    done = command("train", scale, "--out", run, *words)
    assert done.code == 0, done.err
    record = json.loads((run / "run.json").read_text())
    assert record["outcome"]["story"]["recipe"]["loss"]["name"] == "ranked-probability"
    scored = command("evaluate", run, "--json")
    assert scored.json["mean_rank_error"] < 1
    assert scored.json["quadratic_kappa"] > 0.5
    picture = next((scale / "grade 4").glob("*.png"))
    row = command("predict", run, picture, "--json").json["rows"][0]
    assert 2.5 < row["rank"] <= 4


def test_a_task_that_the_data_cannot_have_is_refused(scale, several, tmp_path):
    for data, task in ((scale, "multi-label"), (several, "ordinal"), (several, "single-label")):
        done = command(
            "train", data, "--out", tmp_path / "no", "--set", f"task={task}", "--dry-run"
        )
        assert done.code != 0
        assert "labels" in done.err


def test_a_family_that_cannot_learn_them_names_those_that_can(several, tmp_path):
    done = command(
        "train", several, "--out", tmp_path / "no", "--model", "hog+linear-svm", "--dry-run"
    )
    assert done.code != 0
    assert "compact" in done.err
