"""The leaderboard on real pictures: trained in processes of their own, ranked, resumed, stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from clearsight import leaderboard
from clearsight.core.errors import ConfigError, DataError, UnknownKeyError, UsageError
from clearsight.core.progress import Silent
from clearsight.leaderboard import MODELS, Plan, plan_leaderboard, run_leaderboard

TIME_S = 20.0


def write_digits(folder, per_class=40):
    """Write scikit-learn's scanned digits 0 to 2 in class folders."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=3)
    counts = dict.fromkeys(range(3), 0)
    for pixels, label in zip(digits.images, digits.target, strict=True):
        if counts[label] < per_class:
            file = folder / str(label) / f"{counts[label]:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 255 / 16).astype("uint8")).resize((16, 16)).save(file)
            counts[label] += 1
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def quick(digits):
    """Two recognizers that start in seconds, and one whose input it cannot take."""
    models = ("hog+linear-svm", "hog+logistic", "vit_tiny_patch16_224.no_such_weights")
    return Plan(data=str(digits), models=models, time_s=TIME_S)


@pytest.fixture(scope="module")
def board(quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("board") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaderboard, "_check_names", lambda plan: None)
        return out, run_leaderboard(quick, out, resume=False, progress=Silent())


def test_what_can_be_trained_is_ranked_and_what_cannot_is_told(board, quick):
    out, found = board
    names = [item.contender.name for item in found.found.standings]
    assert sorted(names) == ["hog+linear-svm", "hog+logistic"]
    assert list(found.told.failed) == [quick.models[2]]
    assert "no_such_weights" in found.told.failed[quick.models[2]]
    assert found.found.part == "test"
    for item in found.found.standings:
        assert item.accuracy.value > 0.7
        assert item.contender.train_s > 0
        assert (out / "runs" / item.contender.name / "bundle" / "manifest.json").is_file()
    values = json.loads((out / "leaderboard.json").read_text())
    assert values["time_s"] == TIME_S
    assert values["failed"][0]["name"] == quick.models[2]
    assert (out / "leaderboard.svg").is_file()
    page = (out / "leaderboard.html").read_text()
    assert "no_such_weights" in page
    assert all((out / "logs" / f"{name}.txt").is_file() for name in names)


def test_resume_trains_only_what_is_not_finished(board, quick, monkeypatch):
    out, _ = board
    asked = []

    def train(plan, name, run, out, progress):
        asked.append(name)
        return "planted"

    monkeypatch.setattr(leaderboard, "_train", train)
    again = run_leaderboard(Plan(data=quick.data), out, resume=True, progress=Silent())
    assert asked == [quick.models[2]]
    assert again.told.failed == {quick.models[2]: "planted"}
    assert len(again.found.standings) == 2


def test_an_unfinished_run_gets_the_same_time_as_the_others(tmp_path):
    """It is begun anew, so that none is trained longer than another."""
    run = tmp_path / "run"
    (run / "work").mkdir(parents=True)
    assert not leaderboard._finished(run)
    assert not run.exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_in_use_is_refused(tmp_path, digits, resume):
    (tmp_path / "something").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty|no leaderboard"):
        run_leaderboard(Plan(data=str(digits)), tmp_path, resume, Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def test_resume_refuses_other_data(board, tmp_path):
    with pytest.raises(UsageError, match="was begun on"):
        run_leaderboard(Plan(data=str(tmp_path)), board[0], True, Silent())


def test_a_mistyped_name_is_refused_before_anything_is_trained(digits, tmp_path):
    plan = Plan(data=str(digits), models=("hog", "resent18"), time_s=TIME_S)
    with pytest.raises(UnknownKeyError, match="resnet18"):
        run_leaderboard(plan, tmp_path / "out", False, Silent())
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="two models"):
        run_leaderboard(
            Plan(data=str(digits), models=("hog", "hog")), tmp_path / "out", False, Silent()
        )


def test_one_recognizer_is_no_ranking(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "_train", lambda *arguments: "planted reason")
    plan = Plan(data=str(digits), models=("hog", "surf"), time_s=TIME_S)
    with pytest.raises(DataError, match="planted reason"):
        run_leaderboard(plan, tmp_path / "out", False, Silent())


def test_a_stuck_training_is_stopped_and_told(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "GRACE_S", -2 * TIME_S + 1)
    plan = Plan(data=str(digits), time_s=TIME_S)
    (tmp_path / "logs").mkdir()
    reason = leaderboard._train(plan, "hog", tmp_path / "run", tmp_path, Silent())
    assert "more than twice its time" in reason


@pytest.mark.parametrize(
    ("code", "answer", "told"),
    [
        (1, b'{"error": {"type": "DataError", "message": "No pictures.\\nMore"}}', "No pictures."),
        (-9, b"", "memory"),
        (1, b"garbage", "ended with code 1; see"),
        (1, b"", "ended with code 1; see"),
    ],
)
def test_reasons(tmp_path, code, answer, told):
    assert told in leaderboard._reason(code, answer, tmp_path / "log.txt")
    assert "More" not in leaderboard._reason(code, answer, tmp_path / "log.txt")


def test_dry_run_writes_nothing_and_covers_the_named_systems(digits, tmp_path):
    plan = Plan(data=str(digits), models=("hog", "resent18"), time_s=TIME_S)
    planned = plan_leaderboard(plan)["models"]
    assert "24x24" in planned["hog"] or "x" in planned["hog"]
    assert "cannot be trained" in planned["resent18"]
    assert list(tmp_path.iterdir()) == []
    kinds = ("sift", "surf", "hog", "svm", "random-forest", "vgg", "resnet", "inception", "auto")
    assert len(MODELS) >= 12
    assert all(any(kind in name for name in MODELS) for kind in kinds)


@pytest.mark.slow
def test_sigterm_leaves_no_training_behind(digits, tmp_path):
    command = [sys.executable, "-m", "clearsight", "leaderboard", str(digits), "--time", "60s"]
    command += ["--out", str(tmp_path / "out"), "--models", "textbook,compact", "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out" / "runs" / "textbook" / "run.json").is_file():
        time.sleep(0.2)
        assert process.poll() is None
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "--resume" in said
    assert children
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(int(child), 0)
