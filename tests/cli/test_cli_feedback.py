"""`clearsight feedback`: what clients corrected becomes a data set."""

import json
import sys

import pytest

from clearsight.cli.main import main
from clearsight.serve.operations.feedback import Feedback
from clearsight.serve.store.place import store_folder
from clearsight.testing.protocol_contract import picture


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clearsight", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def store(tmp_path):
    folder = store_folder(tmp_path / "store")
    feedback = Feedback(folder, 1_000_000)
    for shade in range(3):
        feedback.add("rust", picture("PNG", (150 + shade, 60, 20)))
    feedback.add("moss", picture("PNG", (20, 150, 60)))
    feedback.add("moss", request="r9")
    return folder


def test_export_tells_what_became_of_every_correction(call, store, tmp_path):
    code, out, err = call("feedback", "export", "--store", store, "--out", tmp_path / "data")
    assert code == 0, err
    assert "4 of 5 corrections" in out
    assert "rust: 3" in out
    assert "clearsight train" in out
    code, out, _ = call("check", tmp_path / "data" / "manifest.csv", "--json")
    assert json.loads(out)["used"] == 4
    code, _, err = call("feedback", "export", "--store", store, "--out", tmp_path / "data")
    assert code == 1
    assert "already exists" in err


def test_export_as_json(call, store, tmp_path):
    code, out, _ = call(
        "feedback", "export", "--store", store, "--out", tmp_path / "data", "--json"
    )
    told = json.loads(out)
    assert code == 0
    assert (told["found"], told["exported"], told["without_picture"]) == (5, 4, 1)
    assert told["labels"] == {"moss": 1, "rust": 3}


def test_clear_takes_an_age(call, store):
    assert "0 corrections" in call("feedback", "clear", "--store", store, "--older-than", "1d")[1]
    code, _, err = call("feedback", "clear", "--store", store, "--older-than", "soon")
    assert code == 2
    assert "30" in err or "90s" in err
