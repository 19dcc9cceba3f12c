"""Hardening: the attacks and changes, the loop with them, who is refused, and the price."""

from dataclasses import replace
from typing import ClassVar

import gradient_worker
import numpy as np
import pytest
import torch
from gradient_worker import Quiet, digest, make_job, make_network
from torch import nn

from clearsight.core.errors import ConfigError, InterruptedRun, UnknownKeyError
from clearsight.core.nouns import Preprocessing
from clearsight.data.cache import PixelCache
from clearsight.learn.contest import facts_for, find_candidates
from clearsight.learn.family import Budget, Facts, Job
from clearsight.learn.hardened import Side, hardened_job, judge_hardened, price, say_hardened
from clearsight.learn.hardening import HARDENINGS, Step, build_hardening
from clearsight.learn.hardening._adversarial import ascended, kept_statistics
from clearsight.learn.hardening._pictures import jensen_shannon
from clearsight.learn.hardening._primitives import Strength, coloured, deformed, filtered
from clearsight.learn.hardening.noise import Noise
from clearsight.learn.settings import TrainSettings
from clearsight.learn.trainers import _clock
from clearsight.learn.trainers._device import choose_device
from clearsight.learn.trainers._hardened import Trial
from clearsight.learn.trainers._validation import network_logits, regret, worth
from clearsight.learn.trainers.gradient import train_network
from clearsight.learn.training import Choice
from clearsight.testing.hardening_contract import step_of

FACTS = Facts(("a", "b", "c"), (8, 8, 8), 24, 24, grey=True)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def linear_step(weight, images):
    """A step whose loss is known by hand: one score, w . x, and the loss is minus its mean."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(weight.numel(), 1, bias=False))
    network[1].weight.data = weight.reshape(1, -1)
    random = torch.Generator().manual_seed(0)
    pixels = lambda images_nhwc: images_nhwc.permute(0, 3, 1, 2).float()  # noqa: E731
    return Step(images, network, pixels, network, lambda logits: -logits.mean(), random)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_ascent_on_a_linear_score_is_the_corner_of_the_ball(steps):
    weight = torch.tensor([1.0, -2.0, 0.5, -0.1])
    images = torch.tensor([100, 100, 1, 254], dtype=torch.uint8).reshape(1, 2, 2, 1)
    step = linear_step(weight, images)
    plain = step.pixels(images)
    moved = ascended(step, plain, plain, 10.0, 10.0 / steps, steps, step.loss)
    want = (plain.flatten() - 10 * weight.sign()).clamp(0, 255)  # the loss falls with the score
    assert torch.allclose(moved.flatten(), want, atol=1e-4)


def test_batch_normalisation_notes_nothing_on_the_way_even_after_an_error():
    step = step_of((6, 8, 8, 1))
    with kept_statistics(step.network):
        step.logits(step.pixels(step.images_nhwc))
    with pytest.raises(ZeroDivisionError), kept_statistics(step.network):
        raise ZeroDivisionError
    assert step.network.norm.num_batches_tracked == 0
    step.logits(step.pixels(step.images_nhwc))
    assert step.network.norm.num_batches_tracked == 1


def test_the_attack_of_art_is_no_stronger():
    """Adversarial Robustness Toolbox's PGD on the same network: within two pictures of ours."""
    attacks = pytest.importorskip("art.attacks.evasion")
    classifiers = pytest.importorskip("art.estimators.classification")
    step = step_of((60, 12, 12, 1), training=False)
    pixels = step.pixels(step.images_nhwc)
    labels = np.arange(60) % 3
    theirs = classifiers.PyTorchClassifier(
        step.network, nn.CrossEntropyLoss(), (1, 12, 12), 3, clip_values=(0, 255)
    )
    ascent = attacks.ProjectedGradientDescent(theirs, eps=8, eps_step=2, max_iter=10)
    found = torch.from_numpy(ascent.generate(pixels.numpy(), labels))
    ours = build_hardening(Choice.of("pgd", eps=8 / 255), "single-label").trial(step)
    losses = [float(step.loss(step.logits(moved))) for moved in (ours, found)]
    assert losses[0] >= losses[1] * 0.98


def test_jensen_shannon_by_hand():
    same = torch.tensor([[1.0, 2.0, 3.0]])
    assert float(jensen_shannon(same, same, same)) == pytest.approx(0, abs=1e-6)
    one, two = torch.tensor([[40.0, 0.0]]), torch.tensor([[0.0, 40.0]])
    assert float(jensen_shannon(one, two)) == pytest.approx(np.log(2), abs=1e-5)


def test_noise_has_the_strength_that_was_asked_for():
    images = torch.full((400, 12, 12, 1), 128, dtype=torch.uint8)
    noise = Noise(Noise.Config(largest_sigma=0.1, picture_share=0.25))
    changed = noise.pictures(images, torch.Generator().manual_seed(0)).float() - 128
    spread = changed.flatten(1).std(1)
    assert 0.18 < float((spread > 0.5).float().mean()) < 0.32
    assert 20 < float(spread.max()) < 28  # 0.1 of 255


def test_primitives_without_strength_change_nothing():
    nothing = Strength(0.0, 0.0, 0.0)
    pixels = torch.rand(4, 3, 16, 12, generator=torch.Generator().manual_seed(1))
    pixels = (255 * pixels).round() / 255
    for primitive in (filtered, coloured, deformed):
        random = torch.Generator().manual_seed(0)
        assert torch.allclose(primitive(pixels, nothing, random), pixels, atol=1e-5)
        some = primitive(pixels, Strength(4.0, 0.01, 1.0), random)
        assert not torch.allclose(some, pixels, atol=1e-2)


FEW_STEPS = {"pgd": {"steps": 2, "step_share": 0.6}, "trades": {"steps": 2, "step_share": 0.6}}


TOGETHER = {"consistency": 12.0}
"""The published weight, which is not the default."""
TAUGHT = [(key, FEW_STEPS.get(key, {})) for key in HARDENINGS.keys()]  # noqa: SIM118
TAUGHT += [("augmix", TOGETHER), ("prime", TOGETHER)]


@pytest.mark.parametrize(("key", "options"), TAUGHT)
def test_a_hardened_training_learns_and_tells(tmp_path, key, options):
    job = make_job(tmp_path, Budget(epochs=45), Quiet())
    job = replace(job, harden=Choice.of(key, **options))
    story = train_network(make_network(job, width=8), job, gradient_worker.RECIPE)
    assert story["best"]["val_accuracy"] >= 0.8
    assert story["best"]["hardened_accuracy"] >= 0.6
    assert story["recipe"]["harden"]["name"] == key
    assert story["judged"] == 30


def test_a_training_without_hardening_tells_nothing_of_it(tmp_path):
    job = make_job(tmp_path, Budget(epochs=1), Quiet())
    story = train_network(make_network(job), job, gradient_worker.RECIPE)
    assert "hardened_accuracy" not in story["best"]
    assert "harden" not in story["recipe"]


def _under_attack(network, job, eps):
    hardening = build_hardening(Choice.of("pgd", eps=eps), "single-label")
    trial = Trial(hardening, job, choose_device())
    logits, labels = trial.score(network, np.arange(len(job.val_labels)))
    return float((logits.argmax(1) == labels).float().mean())


def test_adversarial_training_holds_where_a_plain_one_does_not(tmp_path):
    eps, found = 0.12, {}
    for name, choice in (("plain", None), ("hard", Choice.of("pgd", eps=eps, steps=3))):
        job = make_job(tmp_path / name, Budget(epochs=25), Quiet())
        job = replace(job, harden=choice)
        network = make_network(job)
        train_network(network, job, gradient_worker.RECIPE)
        found[name] = _under_attack(network, job, eps)
    assert found["hard"] >= found["plain"] + 0.2, found


@pytest.mark.parametrize(("key", "options"), [("pgd", {}), ("augmix", {}), ("augmix", TOGETHER)])
def test_a_stopped_training_resumes_to_the_same_weights(tmp_path, monkeypatch, key, options):
    monkeypatch.setattr(_clock, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(_clock, "CHECKPOINT_COST", 1e9)
    choice = Choice.of(key, **options)

    def trained(work, progress):
        job = replace(make_job(work, Budget(epochs=4), progress), harden=choice)
        network = make_network(job)
        train_network(network, job, gradient_worker.RECIPE)
        return digest(network)

    class Stops(Quiet):
        steps = 0

        def advance(self, amount, note=""):
            self.steps += 1
            if self.steps == 6:
                raise InterruptedRun("stopped")

    undisturbed = trained(tmp_path / "one", Quiet())
    with pytest.raises(InterruptedRun):
        trained(tmp_path / "two", Stops())
    assert list((tmp_path / "two").glob("step-*"))
    assert trained(tmp_path / "two", Quiet()) == undisturbed


def test_options_change_the_identity_of_a_training(tmp_path):
    weights = set()
    for number, choice in enumerate((None, Choice.of("fast"), Choice.of("fast", eps=0.2))):
        job = replace(make_job(tmp_path / f"{number}", Budget(epochs=1), Quiet()), harden=choice)
        network = make_network(job)
        train_network(network, job, gradient_worker.RECIPE)
        weights.add(digest(network))
    assert len(weights) == 3


def test_weights_are_judged_by_both_accuracies():
    assert worth({"val_accuracy": 0.9}) == 0.9
    assert worth({"val_accuracy": 0.9, "hardened_accuracy": 0.0}) < worth(
        {"val_accuracy": 0.85, "hardened_accuracy": 0.6}
    )
    assert regret({"val_loss": 1.0, "hardened_loss": 3.0}) == 2.0


def test_a_trial_is_the_same_every_time_and_leaves_weights_alone(tmp_path):
    job = make_job(tmp_path, Budget(epochs=1), Quiet())
    network = make_network(job)
    before = digest(network)
    trial = Trial(build_hardening(Choice.of("pgd"), "single-label"), job, choose_device())
    rows = np.array([0, 3, 5, 7])
    one, labels = trial.score(network, rows)
    two, _ = trial.score(network, rows)
    assert torch.equal(one, two)
    assert labels.tolist() == job.val_labels[rows].tolist()
    assert digest(network) == before
    assert not np.allclose(network_logits(network, job.val_images, choose_device(), rows), one)


def _candidates(**settings):
    return find_candidates(TrainSettings.parse({"epochs": 1, **settings}), FACTS)


def test_an_unknown_hardening_or_option_names_what_there_is():
    with pytest.raises(UnknownKeyError, match="pgd"):
        _candidates(model="compact", harden="pdg")
    with pytest.raises(ConfigError, match="eps"):
        _candidates(model="compact", harden={"name": "fast", "options": {"epsilon": 1}})
    with pytest.raises(ConfigError, match="eps"):
        _candidates(model="compact", harden={"name": "fast", "options": {"eps": 1}})


def test_classical_recognizers_take_changed_pictures_and_no_attacks():
    assert _candidates(model="hog+linear-svm", harden="noise")
    with pytest.raises(ConfigError, match="augmix, noise, prime"):
        _candidates(model="hog+linear-svm", harden="pgd")


def test_auto_leaves_out_who_cannot_be_attacked():
    found = find_candidates(TrainSettings.parse({"time_s": 60, "harden": "trades"}), FACTS)
    assert {one.key for one in found} <= {"compact", "timm", "textbook"}
    everybody = find_candidates(TrainSettings.parse({"time_s": 60, "harden": "noise"}), FACTS)
    assert "classical" in {one.key for one in everybody}


@pytest.mark.parametrize("key", ["augmix", "prime", "trades"])
def test_what_compares_distributions_refuses_several_labels(key):
    with pytest.raises(ConfigError, match="multi-label"):
        build_hardening(Choice(name=key), "multi-label")


@pytest.mark.parametrize(
    ("model", "harden", "slower"),
    [
        ("compact", {"name": "pgd", "options": {"steps": 3}}, 4.0),
        ("compact", {"name": "prime", "options": {"consistency": 0}}, 1.0),
        ("hog+linear-svm", "noise", 2.0),
        ("compact", None, 1.0),
    ],
)
def test_a_family_is_told_how_much_time_hardening_leaves_it(model, harden, slower):
    settings = TrainSettings.parse({"time_s": 60, "model": model, "harden": harden})
    facts = replace(FACTS, time_s=60.0)
    (candidate,) = find_candidates(settings, facts)
    assert facts_for(candidate, facts, settings.harden).time_s == 60 / slower
    assert facts_for(candidate, FACTS, settings.harden).time_s is None


def _classical_job(work):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (300, 16, 16, 1), dtype=np.uint8)
    labels = (np.arange(300) % 3).astype(np.int64)
    size = Preprocessing(height=16, width=16, channels=1)
    budget = Budget(epochs=1)
    return Job(images, labels, images, labels, ("a", "b", "c"), size, 0, budget, work, None)


def test_without_gradients_changed_pictures_stand_beside_the_plain_ones(tmp_path):
    job = _classical_job(tmp_path)
    hard = hardened_job(job, Choice.of("noise", picture_share=1.0), gradients=False)
    assert np.array_equal(hard.train_images[:300], job.train_images)
    assert np.array_equal(hard.train_labels, np.tile(job.train_labels, 2))
    assert not np.array_equal(hard.train_images[300:], job.train_images)
    assert np.abs(hard.train_images[300:].astype(int) - job.train_images).mean() < 40
    again = hardened_job(job, Choice.of("noise", picture_share=1.0), gradients=False)
    assert np.array_equal(hard.train_images, again.train_images)
    assert hardened_job(job, None, gradients=False) is job
    assert hardened_job(job, Choice(name="pgd"), gradients=True).harden.name == "pgd"
    with pytest.raises(ConfigError, match="no gradients"):
        hardened_job(job, Choice(name="pgd"), gradients=False)


def _side(answers, labels, kept):
    logits = np.eye(3, dtype=np.float32)[answers]
    cache = PixelCache(np.zeros((len(kept), 4, 4, 1), np.uint8), labels, np.array(kept), ())
    return Side(logits, cache)


def test_the_price_is_paired_on_the_pictures_that_both_answered():
    labels = np.array([0, 1, 2, 0, 1])
    standard = _side([0, 1, 2, 0, 0], labels, [0, 1, 2, 3, 4])  # 4 of 5
    hardened = _side([1, 2, 1], labels[[1, 2, 4]], [1, 2, 4])  # 1, 2 and 4: right, right, right
    told = price(standard, hardened)
    assert told["n"] == 3
    assert told["standard_accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert told["accuracy"] == 1.0
    assert told["points"] == pytest.approx(-100 / 3, abs=0.01)  # it gained
    low, high = told["points_ci"]
    assert low < told["points"] < high
    assert high - low == pytest.approx(
        2 * 1.96 * 100 * np.std([0, 0, -1], ddof=1) / 3**0.5, abs=0.1
    )


def test_the_price_of_one_picture_has_no_interval():
    one = _side([0], np.array([0]), [7])
    told = price(one, one)
    assert told["points"] == 0
    assert told["points_ci"] is None


def test_what_hardening_brought_is_counted_on_changed_pictures(tmp_path):
    class Fitted:
        story: ClassVar = {}

        def logits(self, images):
            bright = images.reshape(len(images), -1).mean(1) > 120
            return np.eye(2, dtype=np.float32)[bright.astype(int)]

    images = np.concatenate([np.full((40, 8, 8, 1), value, np.uint8) for value in (60, 190)])
    labels = np.repeat([0, 1], 40).astype(np.int64)
    side = Side(Fitted().logits(images), PixelCache(images, labels, np.arange(80), ()))
    told = judge_hardened(Fitted(), side, Choice(name="noise"), "single-label", 0)
    assert told["n"] == 80
    assert told["accuracy"] == 1.0
    assert told["accuracy_ci"][0] > 0.94
    assert judge_hardened(Fitted(), side, None, "single-label", 0) is None
    unknown = judge_hardened(Fitted(), side, Choice(name="pgd"), "single-label", 0)
    assert unknown["accuracy"] is None
    assert say_hardened(unknown) == []


def test_brought_and_price_are_told_with_their_intervals():
    price_told = {"points": 0.5, "points_ci": [0.1, 0.9], "n": 200, "standard_seconds": 12.0}
    told = {"name": "pgd", "by": "attack", "accuracy": 0.7, "accuracy_ci": [0.6, 0.8], "n": 100}
    first, second = say_hardened({**told, "price": price_told})
    assert "0.7000 of 100 validation pictures right under attack (95 % CI 0.6000-0.8000)" in first
    assert "0.50 points of accuracy (95 % CI 0.10 to 0.90, 200 validation pictures)" in second
