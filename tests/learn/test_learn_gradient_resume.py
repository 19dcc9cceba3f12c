"""CHECKS 13: killed at random points and resumed, a training ends with the same weights."""

import itertools
import math
import os
import random
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import gradient_worker
import pytest
import torch

from clearsight.core.errors import InterruptedRun
from clearsight.learn.family import Budget
from clearsight.learn.trainers import _clock
from clearsight.learn.trainers.gradient import train_network

WORKER = [sys.executable, str(Path(__file__).with_name("gradient_worker.py"))]
KILLS = int(os.environ.get("CLEARSIGHT_KILLS", "20"))  # CHECKS 13 is done with 100


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed_of(tmp_path_factory):
    @lru_cache
    def weights(recipe):
        torch.set_num_threads(1)
        return _train(tmp_path_factory.mktemp(recipe), Budget(epochs=12), recipe=recipe)[0]

    return weights


@pytest.fixture
def undisturbed(undisturbed_of):
    return undisturbed_of("plain")


def _train(work, budget, progress=None, recipe="plain"):
    job = gradient_worker.make_job(work, budget, progress or gradient_worker.Lines())
    network = gradient_worker.make_network(job)
    story = train_network(network, job, gradient_worker.RECIPES[recipe])
    return gradient_worker.digest(network), story


def _killed_after(steps, command):
    """Start the worker and kill it with SIGKILL after so many steps; False if it ended before."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            steps -= line.startswith(b"step")
            if steps <= 0:
                process.kill()
                break
    return process.returncode == -signal.SIGKILL


def _kill_and_resume(tmp_path, kills, seed, recipe="plain"):
    """Return the digest after so many kills; a training that ends before begins another one."""
    chance, killed, digests = random.Random(seed), 0, set()
    for number in itertools.count():
        work, out = tmp_path / f"work-{number}", tmp_path / f"out-{number}"
        command = [*WORKER, str(work), str(out), recipe]
        while killed < kills and not out.exists():
            killed += _killed_after(chance.randint(1, 12), command)
        while not out.exists():
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        digests.add(out.read_text())
        if killed >= kills:
            return digests


def test_killed_three_times_ends_with_the_same_weights(tmp_path, undisturbed):
    assert _kill_and_resume(tmp_path, 3, seed=0) == {undisturbed}


def test_everything_that_has_state_resumes(tmp_path, undisturbed_of):
    assert _kill_and_resume(tmp_path, 2, 0, "averaged") == {undisturbed_of("averaged")}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("recipe", gradient_worker.RECIPES)
def test_killed_many_times_ends_with_the_same_weights(tmp_path, undisturbed_of, recipe):
    kills = math.ceil(KILLS / len(gradient_worker.RECIPES))
    assert _kill_and_resume(tmp_path, kills, 1, recipe) == {undisturbed_of(recipe)}


def test_the_seed_matters(tmp_path, undisturbed):
    job = gradient_worker.make_job(tmp_path, Budget(epochs=12), gradient_worker.Lines())
    job.seed = 4
    network = gradient_worker.make_network(job)
    train_network(network, job, gradient_worker.RECIPE)
    assert gradient_worker.digest(network) != undisturbed


class _SignalsAt(gradient_worker.Lines):
    def __init__(self, step, number):
        self.step, self.number = step, number

    def advance(self, amount, note=""):
        self.step -= 1
        if self.step == 0:
            signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_with_a_checkpoint(tmp_path, undisturbed, number):
    before = signal.getsignal(number)
    with pytest.raises(InterruptedRun, match="--resume"):
        _train(tmp_path, Budget(epochs=12), _SignalsAt(7, number))
    assert signal.getsignal(number) == before
    weights, story = _train(tmp_path, Budget(epochs=12))
    assert weights == undisturbed
    assert 7 <= story["resumed_from"] <= 8


def test_a_damaged_checkpoint_is_passed_over(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr(_clock, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(_clock, "CHECKPOINT_COST", 1e9)
    with pytest.raises(InterruptedRun):
        _train(tmp_path, Budget(epochs=12), _SignalsAt(9, signal.SIGINT))
    older, newest = sorted(tmp_path.glob("step-*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    weights, story = _train(tmp_path, Budget(epochs=12))
    assert story["resumed_from"] == int(older.name[5:14])
    assert weights == undisturbed


def test_another_training_is_not_resumed(tmp_path):
    with pytest.raises(InterruptedRun):
        _train(tmp_path, Budget(epochs=12), _SignalsAt(9, signal.SIGINT))
    assert _train(tmp_path, Budget(epochs=3))[1]["resumed_from"] is None


def test_under_a_deadline_the_journal_is_replayed(tmp_path, monkeypatch):
    monkeypatch.setattr(_clock, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(_clock, "CHECKPOINT_COST", 1e9)
    first, told = _train(tmp_path, _seconds(4))
    again, story = _train(tmp_path, _seconds(60))
    assert told["resumed_from"] is None
    assert story["resumed_from"] > told["steps"] // 2
    assert story["plan"] == told["plan"]
    assert len(story["plan"]) > 1
    assert again == first


def _seconds(seconds):
    import time

    return Budget(deadline=time.monotonic() + seconds)
