"""The training loop: plan, schedule, budget, divergence, validation."""

import time

import gradient_worker
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from clearsight.core.errors import ClearsightError, UnknownKeyError
from clearsight.learn.family import Budget
from clearsight.learn.optimizers import OPTIMIZERS
from clearsight.learn.optimizers.muon import orthogonalised
from clearsight.learn.trainers import _clock
from clearsight.learn.trainers._plan import Plan
from clearsight.learn.trainers._validation import flat, worth_keeping
from clearsight.learn.trainers.gradient import Recipe, train_network


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _job(tmp_path, **budget):
    return gradient_worker.make_job(tmp_path, Budget(**budget), gradient_worker.Lines())


def test_progress_is_continuous_over_plans_and_ends_at_one(tmp_path):
    plan = Plan(tmp_path / "plan.json", "id")
    plan.decide(0, 100, "first")
    plan.decide(10, 50, "slower")
    plan.decide(30, 60, "faster")
    values = [plan.progress(step) for step in range(61)]
    assert values[0] == 0
    assert values[60] == 1
    steps = np.diff(values)
    assert (steps > 0).all()
    assert steps.max() < 0.03
    assert Plan(tmp_path / "plan.json", "id").progress(42) == values[42]
    assert not Plan(tmp_path / "plan.json", "another").decisions


def test_a_damaged_journal_is_not_used(tmp_path):
    (tmp_path / "plan.json").write_text('{"identity": "id", "decisions": [{"step": -1}]}')
    assert not Plan(tmp_path / "plan.json", "id").decisions


def test_orthogonalised_evens_out_singular_values():
    matrix = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix).reshape(16, -1))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.5


@pytest.mark.parametrize("name", OPTIMIZERS.keys())
def test_every_optimizer_learns(tmp_path, name):
    job = _job(tmp_path, epochs=50)
    lr = {"sgd": 0.1, "lion": 0.01}.get(name, 0.02)
    recipe = Recipe(lr=lr, optimizer=name, batch_size=16)
    story = train_network(gradient_worker.make_network(job), job, recipe)
    assert story["best"]["val_accuracy"] >= 0.9
    assert story["epochs"] == 50


def test_frozen_weights_stay(tmp_path):
    job = _job(tmp_path, epochs=1)
    network = gradient_worker.make_network(job)
    stem, head = network.stem.weight.clone(), network.head.weight.clone()
    train_network(network, job, gradient_worker.RECIPE)
    assert torch.equal(stem, network.stem.weight)
    assert not torch.equal(head, network.head.weight)


def test_it_ends_by_the_deadline_and_the_schedule_ends_with_it(tmp_path):
    job = _job(tmp_path, deadline=time.monotonic() + 4)
    story = train_network(gradient_worker.make_network(job), job, gradient_worker.RECIPE)
    assert job.budget.remaining_s() > -0.5
    assert story["steps"] > 11
    assert story["plan"][-1]["total"] == story["steps"]
    assert len(story["plan"]) > 1


def test_epochs_end_before_a_late_deadline(tmp_path):
    job = _job(tmp_path, epochs=2, deadline=time.monotonic() + 600)
    story = train_network(gradient_worker.make_network(job), job, gradient_worker.RECIPE)
    assert story["epochs"] == 2


def test_a_plateau_ends_a_long_budget(tmp_path):
    job = _job(tmp_path, deadline=time.monotonic() + 600)
    rng = np.random.default_rng(0)
    job.val_labels = rng.integers(0, 3, len(job.val_labels))  # nothing to be learnt from
    recipe = Recipe(lr=0.01, batch_size=16, max_epochs=150)
    story = train_network(gradient_worker.make_network(job), job, recipe)
    assert story["plan"][-1]["reason"] == "plateau"
    assert story["epochs"] < 150


class _Explodes(nn.Module):
    """A network whose scores are no numbers in given calls, or in every one after them."""

    def __init__(self, calls=(), after=10**9):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.last = nn.Identity()
        self.calls, self.after, self.call = calls, after, 0

    def forward(self, pixels):
        self.call += self.training
        broken = self.training and (self.call in self.calls or self.call > self.after)
        scores = pixels.mean((1, 2, 3))[:, None] * self.scale
        return self.last(scores * (float("nan") if broken else 1.0))


def test_divergence_restarts_at_half_the_rate_and_says_so(tmp_path, capsys):
    job = _job(tmp_path, epochs=3)
    story = train_network(_Explodes({4, 5}), job, Recipe(lr=0.01, batch_size=16))
    assert story["attempts"] == 2
    assert story["learning_rate"] == pytest.approx(0.005)
    told = capsys.readouterr().out
    assert "diverged" in told
    assert "layer 'last' (Identity)" in told


def test_no_number_before_the_first_step_is_an_error_at_once(tmp_path):
    with pytest.raises(ClearsightError, match="another learning rate would not help"):
        train_network(_Explodes(after=0), _job(tmp_path, epochs=3), Recipe(lr=0.01, batch_size=16))


def test_broken_initial_weights_are_named(tmp_path):
    network = _Explodes()
    nn.init.constant_(network.scale, float("inf"))
    with pytest.raises(ClearsightError, match="the weights 'scale' are not finite"):
        train_network(network, _job(tmp_path, epochs=3), Recipe(lr=0.01, batch_size=16))


class _Cliff(nn.Module):
    """A network that is fine until its weight has gone too far; `rate` is in its way."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, pixels):
        far = self.weight.abs().max() > 1.0
        return pixels.mean((1, 2, 3))[:, None] / 255 * self.weight / (0.0 if far else 1.0)


def _cliff(work, **more):
    recipe = Recipe(lr=2.0, optimizer="lion", schedule="constant", batch_size=16, **more)
    job = _job(work, epochs=8)
    job.train_labels = np.zeros_like(job.train_labels)  # one way to go, straight to the cliff
    return train_network(_Cliff(), job, recipe)


@pytest.fixture
def _checkpoint_every_step(monkeypatch):
    monkeypatch.setattr(_clock, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(_clock, "CHECKPOINT_COST", 1e9)


@pytest.mark.usefixtures("_checkpoint_every_step")
def test_endless_divergence_keeps_the_last_good_checkpoint_and_resumes_slower(tmp_path):
    with pytest.raises(ClearsightError, match="diverged 3 times") as caught:
        _cliff(tmp_path)
    told = str(caught.value)
    for part in ("last at step", "pass", "batch", "learning rate 0.5", "--resume", "training.lr"):
        assert part in told
    (kept,) = [path for path in tmp_path.glob("step-*.safetensors") if str(path) in told]
    assert float(load_file(kept)["network/weight"].abs().max()) <= 1.0  # before the cliff
    with pytest.raises(ClearsightError, match=r"peak 0\.25"):  # resumed, half the rate again
        _cliff(tmp_path)


def test_a_clipped_gradient_that_is_no_number_is_noticed_before_the_step(tmp_path):
    class Steep(_Explodes):
        def forward(self, pixels):
            if self.training:
                self.call += 1
                if self.call == 3:
                    self.scale.register_hook(lambda gradient: gradient * float("inf"))
            return pixels.mean((1, 2, 3))[:, None] * self.scale

    with pytest.raises(ClearsightError, match="gradient of 'scale'"):
        train_network(Steep(), _job(tmp_path, epochs=3), Recipe(lr=0.01, batch_size=16, clip=1.0))


def test_an_unknown_optimizer_names_its_neighbours(tmp_path):
    with pytest.raises(UnknownKeyError, match="adamw"):
        train_network(_Explodes(), _job(tmp_path, epochs=1), Recipe(lr=1.0, optimizer="adamm"))


def test_torch_is_left_as_it_was(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    job = _job(tmp_path, epochs=1)
    state = torch.get_rng_state()
    torch.set_rng_state(state)
    train_network(_Explodes(), job, Recipe(lr=0.01, batch_size=16))
    assert torch.equal(torch.rand(1), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_later_weights_are_kept_within_one_standard_error():
    assert worth_keeping(0.5, [], 100)
    assert worth_keeping(0.89, [0.8, 0.9], 100)
    assert not worth_keeping(0.85, [0.8, 0.9], 100)
    assert flat([1, 0.5, 0.6, 0.5], 2)
    assert not flat([1, 0.5, 0.6, 0.4], 2)
