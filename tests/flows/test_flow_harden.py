"""`train --harden` from the command line to the Bundle, with gradients and without."""

import json

import pytest
from flow_support import write_digits


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("harden") / "data", ["zero", "one", "two"], 40)


@pytest.mark.parametrize(
    ("model", "key", "by"),
    [("compact", "fast", "attack"), ("hog+linear-svm", "noise", "changed pictures")],
)
def test_a_hardened_run_tells_what_it_brought_and_cost(
    clearsight, digits, tmp_path, model, key, by
):
    out = tmp_path / "run"
    words = ["--out", out, "--model", model, "--epochs", "3", "--harden", key]
    done = clearsight("train", digits, *words, "--quiet", "--json")
    assert done.code == 0, done.err
    told = done.json["hardened"]
    assert told["name"] == key
    assert told["by"] == by
    assert told["n"] > 0
    low, high = told["accuracy_ci"]
    assert 0 <= low <= told["accuracy"] <= high <= 1
    assert told["price"]["n"] > 0
    assert told["price"]["points_ci"][0] <= told["price"]["points"] <= told["price"]["points_ci"][1]
    manifest = json.loads((out / "bundle" / "manifest.json").read_text("utf-8"))
    assert manifest["config"]["harden"]["name"] == key
    story = json.loads((out / "run.json").read_text("utf-8"))["outcome"]["story"]
    assert story["hardened"] == told
    assert clearsight("evaluate", out, "--json", "--quiet").code == 0


def test_an_attack_on_designed_features_is_refused_before_anything_is_written(
    clearsight, digits, tmp_path
):
    out = tmp_path / "run"
    done = clearsight("train", digits, "--out", out, "--model", "hog+linear-svm", "--harden", "pgd")
    assert done.code == 2
    assert "gives no gradients" in done.err
    assert not out.exists()


def test_hardening_is_not_changed_on_resume(clearsight, digits, tmp_path):
    done = clearsight("train", digits, "--out", tmp_path / "run", "--harden", "pgd", "--resume")
    assert done.code == 2
