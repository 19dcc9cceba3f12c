"""`evaluate --test-time`: it does something, tells what it brings, or is refused."""

import json

import pytest
from flow_support import write_digits

from clearsight.api import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answering")
    data = write_digits(folder / "data", ["zero", "one", "two"], 40)
    train(data, out=folder / "run", model="textbook", epochs=4)
    return folder / "run"


@pytest.mark.parametrize("way", ["flips", "adapt"])
def test_what_it_brings_is_measured_on_the_same_pictures(clearsight, run, way):
    done = clearsight("evaluate", run, "--test-time", way, "--json", "--quiet")
    assert done.code == 0, done.err
    told = done.json["test_time"]
    assert told["way"] == way
    assert told["n"] == done.json["n"]
    assert told["accuracy"] == pytest.approx(done.json["accuracy"], abs=1e-3)
    assert told["points"] == pytest.approx(100 * (told["accuracy"] - told["plain"]), abs=0.02)
    assert (run / f"report-{way}.html").is_file()
    assert json.loads((run / f"report-{way}.json").read_text("utf-8"))["test_time"] == way


def test_an_unknown_way_names_what_there_is(clearsight, run):
    done = clearsight("evaluate", run, "--test-time", "flip", "--quiet")
    assert done.code == 2
    assert "flips" in done.err


def test_a_bundle_alone_has_nothing_to_compare_with(clearsight, run, tmp_path):
    data = write_digits(tmp_path / "data", ["zero", "one", "two"], 5)
    words = ["--test-time", "adapt", "--out", tmp_path / "report.html", "--quiet"]
    done = clearsight("evaluate", run / "bundle", data, *words)
    assert done.code == 2
    assert "does not say what it was trained on" in done.err
