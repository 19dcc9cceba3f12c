"""Accumulated batches, memory that runs out, averaged weights, curves."""

import gradient_worker
import numpy as np
import pytest
import torch
from torch import nn

from clearsight.core.errors import ClearsightError, InterruptedRun
from clearsight.learn.family import Budget
from clearsight.learn.trainers import _averages
from clearsight.learn.trainers._averages import estimate_batch_norm
from clearsight.learn.trainers._device import Device
from clearsight.learn.trainers.gradient import Recipe, train_network
from clearsight.learn.training import Choice, Training


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _job(tmp_path, progress=None, **budget):
    return gradient_worker.make_job(
        tmp_path, Budget(**budget or {"epochs": 4}), progress or gradient_worker.Quiet()
    )


def _plain_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 10 * 10, 3))


class _Pixels(nn.Module):
    def __init__(self, network, most=10**9, error=MemoryError):
        super().__init__()
        self.network, self.most, self.error = network, most, error

    def forward(self, pixels):
        if len(pixels) > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory")
        return self.network(pixels / 255 - 0.5)


@pytest.mark.parametrize("mix", ["none", "mixup"])
def test_accumulated_batches_are_one_large_batch(tmp_path, mix):
    networks = []
    for name, size, accumulate in (("one", 20, 1), ("four", 5, 4)):
        network = _Pixels(_plain_network())
        recipe = Recipe(
            lr=0.05, optimizer="sgd", batch_size=size, accumulate=accumulate, mix=mix, clip=1.0,
            augment=["shift-flip"],
        )  # fmt: skip
        story = train_network(network, _job(tmp_path / name), recipe)
        assert story["steps"] == 12
        networks.append(network)
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    start = next(iter(_plain_network().parameters()))
    assert not torch.allclose(next(iter(networks[0].parameters())), start, atol=1e-3)


class _Said(gradient_worker.Quiet):
    def __init__(self):
        self.events = []

    def say(self, event, **fields):
        self.events.append((event, fields))


ERRORS = [MemoryError, RuntimeError, torch.OutOfMemoryError]


@pytest.mark.parametrize("error", ERRORS)
def test_out_of_memory_halves_the_batch_and_keeps_the_step(tmp_path, error):
    said = _Said()
    network = _Pixels(_plain_network(), most=6, error=error)
    recipe = Recipe(lr=0.05, optimizer="sgd", batch_size=20)
    story = train_network(network, _job(tmp_path / "small", said), recipe)
    plain = _Pixels(_plain_network())
    train_network(plain, _job(tmp_path / "large"), recipe)
    for one, other in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    halved = [fields for event, fields in said.events if "out of memory" in event]
    assert halved == [{"at_once": 10, "a_step": 20}, {"at_once": 5, "a_step": 20}]
    assert [change["kind"] for change in story["adjusted"]] == ["split", "split"]


def test_another_error_is_not_taken_for_lack_of_memory(tmp_path):
    class Broken(_Pixels):
        def forward(self, pixels):
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        train_network(Broken(_plain_network()), _job(tmp_path), Recipe(lr=0.1))


def test_one_picture_that_does_not_fit_is_an_error(tmp_path):
    with pytest.raises(ClearsightError, match="even with one picture"):
        train_network(_Pixels(_plain_network(), most=0), _job(tmp_path), Recipe(lr=0.1))


class _StopsAt(gradient_worker.Quiet):
    def __init__(self, step):
        self.step = step

    def advance(self, amount, note=""):
        import signal

        self.step -= 1
        if self.step == 0:
            signal.raise_signal(signal.SIGINT)


def _small_memory_network(job):
    network = gradient_worker.make_network(job, width=4)

    class Small(type(network)):
        def forward(self, pixels):
            if len(pixels) > 10 and self.training and float(self.seen) > 50:
                raise MemoryError
            if self.training:
                self.seen += len(pixels)
            return super().forward(pixels)

    network.__class__ = Small
    network.seen = nn.Buffer(torch.zeros(()))
    return network


def test_a_run_that_ran_out_of_memory_resumes_to_the_same_weights(tmp_path):
    recipe = Recipe(lr=0.02, optimizer="muon", batch_size=16)
    digests = []
    for name, stop in (("whole", 0), ("cut", 7)):
        if stop:
            job = _job(tmp_path / name, _StopsAt(stop))
            with pytest.raises(InterruptedRun):
                train_network(_small_memory_network(job), job, recipe)
        job = _job(tmp_path / name)
        network = _small_memory_network(job)
        story = train_network(network, job, recipe)
        assert story["adjusted"] == [{"step": 4, "kind": "split"}]
        assert bool(story["resumed_from"]) == bool(stop)
        digests.append(gradient_worker.digest(network))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("averaging", ["ema", Choice.of("swa", start=0.5)])
def test_averaged_weights_are_validated_and_returned_with_statistics_of_their_own(
    tmp_path, averaging
):
    job = _job(tmp_path, epochs=50)
    network = gradient_worker.make_network(job)
    recipe = Recipe(lr=0.02, optimizer="muon", batch_size=16, averaging=averaging)
    story = train_network(network, job, recipe)
    assert story["best"]["val_accuracy"] >= 0.9
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    estimate_batch_norm(network, job, Device("cpu", None, 1), 16)
    for name, value in network.state_dict().items():
        assert torch.equal(value, kept[name]), name  # they were estimated for these very weights
    plain = gradient_worker.make_network(job)
    job = _job(tmp_path / "plain", epochs=50)
    train_network(plain, job, Recipe(lr=0.02, optimizer="muon", batch_size=16))
    assert not torch.equal(plain.head.weight, network.head.weight)


def test_batch_norm_statistics_are_those_of_the_training_pictures(tmp_path, monkeypatch):
    job = _job(tmp_path)
    monkeypatch.setattr(_averages, "ESTIMATE_PICTURES", 60)
    norm = nn.BatchNorm2d(1)
    estimate_batch_norm(nn.Sequential(norm), job, Device("cpu", None, 1), 60)
    pixels = job.train_images.astype(np.float64)
    assert float(norm.running_mean) == pytest.approx(pixels.mean(), rel=1e-4)
    assert float(norm.running_var) == pytest.approx(pixels.var(), rel=1e-3)
    assert norm.momentum == 0.1
    assert not norm.training


def test_report_and_track_are_told_and_may_end_the_training(tmp_path):
    class PrunedError(Exception):
        pass

    reports, tracked = [], []

    def report(done, accuracy):
        reports.append((done, accuracy))
        if len(reports) == 3:
            raise PrunedError

    job = _job(tmp_path, epochs=1000)
    job.report, job.track = report, lambda step, figures: tracked.append((step, figures))
    with pytest.raises(PrunedError):
        train_network(gradient_worker.make_network(job), job, Recipe(lr=0.01, batch_size=16))
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert all(0 < done <= 1 and 0 <= accuracy <= 1 for done, accuracy in reports)
    assert {"loss", "learning_rate"} <= set(tracked[0][1])
    assert any("val_accuracy" in figures for _, figures in tracked)


def test_several_labels_a_picture_can_be_trained_and_validated(tmp_path):
    job = _job(tmp_path, epochs=50)
    job.task = "multi-label"
    for part in ("train_labels", "val_labels"):
        one_hot = np.eye(3, dtype=np.int64)[getattr(job, part)]
        setattr(job, part, one_hot)
    job.training = Training.parse({"loss": "binary-cross-entropy"})
    recipe = Recipe(lr=0.02, optimizer="muon", batch_size=16)
    story = train_network(gradient_worker.make_network(job), job, recipe)
    assert story["best"]["val_accuracy"] >= 0.9
