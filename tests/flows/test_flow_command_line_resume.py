"""A training that is stopped or killed goes on and ends with the same weights, bit for bit."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
from flow_support import command, environment, tree, write_digits

EPOCHS = 12


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("resume") / "digits", list("abcde"), 120)


def arguments(digits, run):
    return ["train", digits, "--out", run, "--model", "textbook", "--epochs", EPOCHS, "--seed", "5"]


@pytest.fixture(scope="module")
def uninterrupted(digits, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    outcome = command(*arguments(digits, run), "--json")
    assert outcome.code == 0, outcome.err
    return run, outcome.json


def stop(arguments, kind, seconds):
    """Start a training, send a signal `seconds` after its pictures are decoded; return its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clearsight", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        said = list(until_training(process.stderr))
        time.sleep(seconds)
        process.send_signal(kind)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, "".join(said) + rest


def until_training(stream):
    """Yield lines until both parts are decoded, or a checkpoint is read."""
    decoded = 0
    for line in stream:
        yield line
        decoded += line.startswith("decode:")
        if decoded == 2 or line.startswith("training resumes"):
            return


def weights(run):
    return (run / "bundle" / "model.safetensors").read_bytes()


def go_on(run, digits):
    return command("train", digits, "--out", run, "--resume", "--json")


def test_stopped_then_killed_then_resumed(digits, uninterrupted, tmp_path):
    whole, said = uninterrupted
    run, before = tmp_path / "run", tree(digits)
    code, err = stop(arguments(digits, run), signal.SIGTERM, 1.0)
    assert code == 1, err
    assert "--resume" in err
    assert "Traceback" not in err
    assert list((run / "work").rglob("step-*.safetensors")), "a stop writes a checkpoint"
    assert not (run / "bundle").exists()
    assert json.loads((run / "run.json").read_text())["state"] == "training"

    code, err = stop(["train", digits, "--out", run, "--resume"], signal.SIGKILL, 0.5)
    assert code == -signal.SIGKILL, err
    assert not (run / "bundle").exists()

    outcome = go_on(run, digits)
    assert outcome.code == 0, outcome.err
    assert weights(run) == weights(whole)
    assert outcome.json["evaluate"] == said["evaluate"]
    assert not (run / "work").exists()
    assert tree(digits) == before


@pytest.mark.slow
def test_another_seed_gives_other_weights(digits, uninterrupted, tmp_path):
    """The comparison above can fail."""
    changed = [*arguments(digits, tmp_path / "run")[:-1], "6"]
    assert command(*changed).code == 0
    assert weights(tmp_path / "run") != weights(uninterrupted[0])


def test_an_unfinished_run_is_not_started_over(digits, tmp_path, clearsight):
    run = tmp_path / "run"
    stop(arguments(digits, run), signal.SIGKILL, 0.2)
    outcome = clearsight(*arguments(digits, run), "--json")
    assert outcome.code == 2
    assert "unfinished run" in outcome.json["error"]["message"]
    assert "--resume" in outcome.json["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment(digits, uninterrupted, tmp_path, seed):
    chance, run = random.Random(seed), tmp_path / "run"
    stop(arguments(digits, run), signal.SIGKILL, chance.uniform(0, 3))
    for _ in range(chance.randint(0, 2)):
        kind = chance.choice([signal.SIGTERM, signal.SIGKILL])
        stop(["train", digits, "--out", run, "--resume"], kind, chance.uniform(0, 3))
    assert go_on(run, digits).code == 0
    assert weights(run) == weights(uninterrupted[0])
