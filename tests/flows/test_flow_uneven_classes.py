"""A data set in which one class is rare, and one of which no picture can be read."""

import json

import pytest
from flow_support import digit_images, encode, write_digits

from clearsight.core.bundle import open_bundle

TRAIN = ("--model", "hog+linear-svm", "--json")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Eight times ten zeros, ones and twos, and eight threes."""
    folder = tmp_path_factory.mktemp("uneven") / "data"
    write_digits(folder, ["zero", "one", "two"], 150)
    threes = [image for image, label in digit_images() if label == 3][:8]
    (folder / "three").mkdir()
    for number, image in enumerate(threes):
        (folder / "three" / f"{number}.png").write_bytes(encode(image))
    return folder


def test_gain_for_the_rarest_is_told_everywhere(clearsight, uneven, tmp_path):
    run = tmp_path / "run"
    done = clearsight("train", uneven, "--out", run, *TRAIN)
    assert done.code == 0, done.err
    assert "Uneven classes: the largest has" in done.err
    told = json.loads((run / "run.json").read_text())["outcome"]["story"]["imbalance"]
    assert told["rarest"]["classes"] == {"three": 6}
    assert set(told["rarest"]["recall"]) == {"before", "after"}
    bundle = open_bundle(run / "bundle")
    assert bundle.manifest.config["imbalance"] == "auto"
    assert "## Uneven classes" in (run / "bundle" / "card.md").read_text(encoding="utf-8")
    assert clearsight("evaluate", run, "--json").code == 0
    report = (run / "report.html").read_text(encoding="utf-8")
    assert '<section id="imbalance">' in report
    assert "three" in report.split('<section id="imbalance">')[1].split("</section>")[0]


def test_off_tells_that_it_is_left_alone(clearsight, uneven, tmp_path):
    run = tmp_path / "run"
    done = clearsight("train", uneven, "--out", run, *TRAIN, "--set", "imbalance=off")
    assert done.code == 0, done.err
    assert "as asked for" in done.err
    assert "imbalance" not in json.loads((run / "run.json").read_text())["outcome"]["story"]
    assert "Uneven" not in (run / "bundle" / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "setting", "loss"),
    [
        ("compact", "auto", {"loss": {"name": "logit-adjusted", "options": {}}}),
        ("compact", "off", {}),
        ("hog+linear-svm", "auto", {}),
    ],
)
def test_the_setting_changes_what_is_planned(clearsight, uneven, tmp_path, model, setting, loss):
    if model == "compact":
        pytest.importorskip("torch")
    arguments = ("--model", model, "--json", "--dry-run", "--set", f"imbalance={setting}")
    planned = clearsight("train", uneven, "--out", tmp_path / "run", *arguments).json
    assert planned["candidates"][0]["training"] == loss
    assert planned["imbalance"] == {"ratio": 20.0, "handled": setting == "auto"}


def test_an_unknown_remedy_is_refused_before_anything_is_written(clearsight, uneven, tmp_path):
    run = tmp_path / "run"
    done = clearsight("train", uneven, "--out", run, *TRAIN, "--set", "imbalance=smote")
    assert done.code == 2
    assert "imbalance" in done.err
    assert not run.exists()


def test_a_class_without_a_readable_training_picture_is_said(clearsight, two_classes, tmp_path):
    broken = two_classes / "broken"
    broken.mkdir()
    whole = (two_classes / "zero" / "000.png").read_bytes()
    for number in range(4):
        damaged = bytearray(whole)
        damaged[60 + number : 120] = bytes(60 - number)
        (broken / f"{number}.png").write_bytes(bytes(damaged))
    run = tmp_path / "run"
    done = clearsight("train", two_classes, "--out", run, *TRAIN)
    assert done.code == 0, done.err
    assert "No training picture of broken could be read" in done.err
    outcome = json.loads((run / "run.json").read_text())["outcome"]
    assert outcome["story"]["unlearnt"] == ["broken"]
    assert {item["reason"] for item in outcome["quarantined"]} != set()
    card = (run / "bundle" / "card.md").read_text(encoding="utf-8")
    assert "could be read: broken" in card
