"""`clearsight compare` and `clearsight leaderboard` as their users call them."""

import json

import pytest
from flow_support import write_digits

from clearsight.testing.tiny_bundle import write_colour_bundle


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on the same digits, one with another split, one on other digits."""
    from clearsight import api
    from clearsight.core.progress import Silent

    folder = tmp_path_factory.mktemp("runs")
    write_digits(folder / "data", ["zero", "one", "two"], 30)
    write_digits(folder / "fewer", ["zero", "one", "two"], 20)
    wanted = {
        "one": ("data", 0, "hog+linear-svm"),
        "two": ("data", 0, "hog+logistic"),
        "other-split": ("data", 1, "hog+logistic"),
        "other-data": ("fewer", 0, "hog+logistic"),
    }
    for name, (data, seed, model) in wanted.items():
        settings = api.train_settings(None, [], time="2m", epochs=None, model=model, seed=seed)
        api.train_run(folder / data, folder / name, settings, Silent(), None, resume=False)
    return folder


def test_runs_of_one_split_are_ranked(clearsight, runs, tmp_path):
    done = clearsight(
        "compare", runs / "one", runs / "two", "--json", "--quiet", "--out", tmp_path / "c.html"
    )
    assert done.code == 0
    assert done.err == ""
    assert done.json["part"] == "test"
    assert [run["place"] for run in done.json["runs"]] == [1, 2]
    assert {run["name"] for run in done.json["runs"]} == {"one", "two"}
    assert all(run["train_s"] > 0 for run in done.json["runs"])
    assert json.loads((tmp_path / "c.json").read_text())["n"] == done.json["n"]


def test_people_get_a_table(clearsight, runs):
    done = clearsight("compare", runs / "one", runs / "two", "--quiet")
    assert done.code == 0
    for word in ("Recognizer", "Accuracy", "Group", "one", "two", "MiB", "test"):
        assert word in done.out


@pytest.mark.parametrize("other", ["other-split", "other-data"])
def test_other_held_out_pictures_are_refused(clearsight, runs, other):
    done = clearsight("compare", runs / "one", runs / other, "--quiet")
    assert done.code == 2
    assert "hold out different pictures" in done.err
    assert "--data DATA" in done.err


def test_with_data_for_all_they_are_compared(clearsight, runs):
    done = clearsight(
        "compare", runs / "one", runs / "other-data", "--data", runs / "fewer", "--json", "--quiet"
    )
    assert done.code == 0
    assert done.json["part"] == "all"
    assert done.json["n"] == 60


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["one"], "two or more"),
        (["one", "missing"], "missing"),
        (["one", "two", "--out", "x.pdf"], "FILE.html"),
        (["one", "two", "--engine", "nothing"], "nothing"),
    ],
)
def test_wrong_calls(clearsight, runs, arguments, says):
    paths = [runs / item if item in ("one", "two", "missing") else item for item in arguments]
    done = clearsight("compare", *paths, "--quiet")
    assert done.code in (1, 2)
    assert says in done.err


def test_changed_data_is_told(clearsight, runs, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(runs / "one", copy)
    record = json.loads((copy / "run.json").read_text())
    record["data"] = str(runs / "fewer")
    (copy / "run.json").write_text(json.dumps(record))
    done = clearsight("compare", runs / "two", copy, "--quiet")
    assert done.code == 1
    assert "has changed since" in done.err


def test_bundles_need_data(clearsight, tmp_path):
    for name in ("a", "b"):
        write_colour_bundle(tmp_path / name)
    done = clearsight("compare", tmp_path / "a", tmp_path / "b", "--quiet")
    assert done.code == 2
    assert "DATA" in done.err


def test_leaderboard_dry_run(clearsight, runs, tmp_path):
    done = clearsight(
        *("leaderboard", runs / "data", "--models", "hog,nothing-such", "--time", "30s"),
        *("--dry-run", "--json", "--out", tmp_path / "out", "--quiet"),
    )
    assert done.code == 0
    assert set(done.json["models"]) == {"hog", "nothing-such"}
    assert "cannot be trained" in done.json["models"]["nothing-such"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--models", "hog"], "two models"),
        (["--models", "hog,resent18"], "resnet18"),
        (["--time", "soon"], "A time is"),
        (["--resume", "--time", "9s"], "--resume goes on"),
        (["--resume"], "no leaderboard to resume"),
    ],
)
def test_wrong_leaderboards(clearsight, runs, tmp_path, arguments, says):
    done = clearsight(
        "leaderboard", runs / "data", "--out", tmp_path / "out", "--quiet", *arguments
    )
    assert done.code == 2
    assert says in done.err
    assert not (tmp_path / "out").exists()
