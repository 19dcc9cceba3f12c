"""A study that is killed at any moment loses no finished trial, and ends as if it had not been."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from flow_support import command, environment, tree, write_digits

TRIALS = 5


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("tune") / "digits", ["zero", "one"], 12)


def arguments(digits, study):
    return ["tune", digits, "--out", study, "--model", "hog", "--trials", TRIALS,
            "--set", "epochs=1", "--seed", "3"]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(digits, tmp_path_factory):
    outcome = command(*arguments(digits, tmp_path_factory.mktemp("whole") / "study"), "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json


def finished(study, folder):
    """Return number and value of every trial that a copy of the file holds as complete."""
    folder.mkdir()
    for file in study.glob("study.sqlite3*"):
        shutil.copy(file, folder)
    try:
        with sqlite3.connect(folder / "study.sqlite3") as database:
            rows = database.execute(
                "SELECT number, value FROM trials JOIN trial_values USING (trial_id) "
                "WHERE state = 'COMPLETE'"
            ).fetchall()
    except sqlite3.OperationalError:  # killed before the first table stood
        rows = []
    return dict(rows)


def kill(arguments, after):
    """Start a study and kill it some seconds after it has begun to train."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clearsight", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        for line in process.stderr:
            if line.startswith(("features", "Trial", "fitting")):
                break
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        process.kill()


def killed_and_resumed(digits, study, folder, kills, seed):
    chance, seen = random.Random(seed), {}
    start = arguments(digits, study)
    for number in range(kills):
        kill(start, chance.uniform(0, 1.5))
        if not (study / "study.json").exists():
            continue
        start = ["tune", digits, "--out", study, "--resume"]
        seen |= finished(study, folder / f"copy{number}")
    outcome = command(*start, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.json, seen


def same_as_uninterrupted(outcome, seen, whole):
    trials = {trial["number"]: trial for trial in outcome["trials"]}
    for number, value in seen.items():
        assert trials[number]["state"] == "complete"
        assert trials[number]["value"] == value
    ended = [
        [(t["parameters"], t["value"]) for t in one["trials"] if t["state"] != "fail"]
        for one in (outcome, whole)
    ]
    assert ended[0] == ended[1]
    assert outcome["evaluate"] == whole["evaluate"]


def test_killed_and_resumed(digits, uninterrupted, tmp_path):
    before = tree(digits)
    outcome, seen = killed_and_resumed(digits, tmp_path / "study", tmp_path, kills=2, seed=0)
    same_as_uninterrupted(outcome, seen, uninterrupted)
    assert tree(digits) == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_killed_at_many_moments(digits, uninterrupted, tmp_path, seed):
    outcome, seen = killed_and_resumed(digits, tmp_path / "study", tmp_path, kills=5, seed=seed)
    same_as_uninterrupted(outcome, seen, uninterrupted)


def test_the_space_is_shown_without_a_trace(digits, tmp_path, clearsight):
    outcome = clearsight(*arguments(digits, tmp_path / "study"), "--dry-run", "--json")
    assert outcome.code == 0
    assert [axis["setting"] for axis in outcome.json["space"]["hog"]] == ["family.head"]
    assert not (tmp_path / "study").exists()


def test_bad_calls(digits, tmp_path, clearsight):
    for more, told in (
        (["--model", "comapct"], "compact"),
        (["--model", "hog", "--set", "training.lr=1"], "training"),
        (["--model", "hog", "--resume"], "holds no study"),
        (["--trials", "0"], "trials"),
    ):
        outcome = clearsight("tune", digits, "--out", tmp_path / "study", *more, "--json")
        assert outcome.code == 2, more
        assert told in outcome.json["error"]["message"]
    assert not (tmp_path / "study").exists()
