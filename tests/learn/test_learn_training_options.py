"""Every option of `settings.training` changes the trained weights, or is refused."""

from functools import lru_cache

import gradient_worker
import pytest
import torch

from clearsight.core.errors import ConfigError, UnknownKeyError
from clearsight.learn.augment import AUGMENTS
from clearsight.learn.averaging import AVERAGES
from clearsight.learn.contest import find_candidates
from clearsight.learn.family import Budget, Facts
from clearsight.learn.losses import LOSSES
from clearsight.learn.mixes import MIXES
from clearsight.learn.optimizers import OPTIMIZERS
from clearsight.learn.samplers import SAMPLERS
from clearsight.learn.schedules import SCHEDULES
from clearsight.learn.settings import TrainSettings
from clearsight.learn.trainers.gradient import Recipe, train_network
from clearsight.learn.trainers.recipe import check_choices
from clearsight.learn.training import Choice, Training
from clearsight.testing.option_values import other_options

REGISTRIES = {
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "averaging": AVERAGES,
    "mix": MIXES,
    "sampler": SAMPLERS,
    "augment": AUGMENTS,
}
PLAIN = {
    "lr": 0.003,
    "weight_decay": 0.5,
    "batch_size": 8,
    "accumulate": 2,
    "clip": 0.01,
    "loss": {"name": "focal"},
    "optimizer": {"name": "sgd"},
    "schedule": {"name": "cosine"},
    "averaging": {"name": "ema"},
    "augment": ({"name": "shift-flip", "options": {"shift": 1}},),
    "mix": {"name": "mixup"},
    "sampler": {"name": "balanced"},
}
FACTS = Facts(("a", "b", "c"), (8, 24, 8), 24, 24, grey=True)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _trained(work, **training):
    job = gradient_worker.make_job(work, Budget(epochs=6), gradient_worker.Quiet())
    kept = [row for row in range(60) if row % 3 == 1 or row < 24]  # one class has more pictures
    job.train_images, job.train_labels = job.train_images[kept], job.train_labels[kept]
    job.training = Training.parse(training)
    network = gradient_worker.make_network(job, width=4)
    recipe = Recipe(lr=0.01, optimizer="muon", batch_size=16, weight_decay=0.01)
    story = train_network(network, job, recipe)
    return gradient_worker.digest(network), story


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    torch.set_num_threads(1)
    return _trained(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    """Return what a key gives with its default options, trained once."""

    @lru_cache
    def trained(field, key):
        return _trained(tmp_path_factory.mktemp(f"{field}-{key}"), **{field: {"name": key}})

    return trained


def test_every_field_has_a_case():
    assert set(PLAIN) == set(Training.model_fields)


@pytest.mark.parametrize("field", sorted(PLAIN))
def test_every_field_changes_the_weights_and_is_told(tmp_path, plain, field):
    weights, story = _trained(tmp_path, **{field: PLAIN[field]})
    assert weights != plain[0]
    told, given = story["recipe"][field], PLAIN[field]
    assert told != plain[1]["recipe"][field]
    if isinstance(given, dict):
        assert told["name"] == given["name"]
    elif not isinstance(given, tuple):
        assert told == given


@pytest.mark.parametrize(
    ("field", "key", "option"),
    [
        (field, key, option)
        for field, registry in REGISTRIES.items()
        if field != "augment"  # the contract of augmentations looks at their pictures
        for key in list(registry.keys())
        for option in other_options(registry.load(key).Config)
    ],
)
def test_every_option_of_a_key_changes_the_weights(tmp_path, default, field, key, option):
    other = other_options(REGISTRIES[field].load(key).Config)[option].model_dump()[option]
    plain = default(field, key)
    changed = _trained(tmp_path / "other", **{field: {"name": key, "options": {option: other}}})
    assert changed[0] != plain[0]
    assert changed[1]["recipe"] != plain[1]["recipe"]


@pytest.mark.parametrize("field", sorted(REGISTRIES))
def test_an_unknown_key_names_its_neighbours(field):
    wrong = Choice(name=REGISTRIES[field].keys()[0][:-1] + "q")
    given = {field: (wrong,) if field == "augment" else wrong}
    with pytest.raises(UnknownKeyError, match="Did you mean"):
        check_choices(Training(**given), FACTS)


@pytest.mark.parametrize("field", sorted(REGISTRIES))
def test_an_unknown_option_names_those_there_are(field):
    for key in list(REGISTRIES[field].keys()):
        wrong = Choice.of(key, no_such_option=1)
        given = {field: (wrong,) if field == "augment" else wrong}
        with pytest.raises(ConfigError, match="no_such_option"):
            check_choices(Training(**given), FACTS)


def test_an_optimizer_without_the_option_names_those_it_has():
    with pytest.raises(ConfigError, match="momentum, nesterov"):
        check_choices(Training(optimizer=Choice.of("sgd", betas=(0.9, 0.99))), FACTS)


def test_none_has_no_options():
    for field in ("averaging", "mix"):
        with pytest.raises(ConfigError, match="no options"):
            check_choices(Training(**{field: Choice.of("none", decay=0.5)}), FACTS)


def test_a_loss_that_cannot_take_the_labels_names_those_that_can():
    facts = Facts(("a", "b"), (8, 24), 24, 24, grey=True, task="multi-label")
    with pytest.raises(ConfigError, match="binary-cross-entropy"):
        check_choices(Training(loss=Choice(name="ldam")), facts)


def _candidates(**settings):
    return find_candidates(TrainSettings.parse({"epochs": 1, **settings}), FACTS)


def test_families_without_gradients_refuse_options_of_training_by_name():
    with pytest.raises(ConfigError, match=r"classical.*training\.lr, training\.clip.*compact"):
        _candidates(model="classical", training={"lr": 0.1, "clip": 1.0})
    assert _candidates(model="classical")


def test_options_of_training_leave_networks_in_the_race():
    assert any(each.key == "classical" for each in _candidates(time_s=60))
    assert {each.key for each in _candidates(time_s=60, training={"lr": 0.1})} == {"compact"}


def test_wrong_options_of_training_are_refused_with_the_candidates():
    for training in ({"loss": "focal", "mix": "mixap"}, {"averaging": "emma"}):
        with pytest.raises(UnknownKeyError):
            _candidates(model="compact", training=training)


def test_a_new_optimizer_comes_with_its_own_rate(tmp_path):
    assert _trained(tmp_path / "1", optimizer="lion")[1]["recipe"]["lr"] == 1e-4
    assert _trained(tmp_path / "2", optimizer="lion", lr=0.5)[1]["recipe"]["lr"] == 0.5


class TestTimmOptimizers:
    def test_options_are_those_of_its_signature(self):
        for options, told in (
            ({"no_such": 1}, "no option 'no_such'.*betas"),
            ({"lr": 1.0}, "training.lr"),
            ({"betas": "x"}, "cannot be used"),
        ):
            with pytest.raises(ConfigError, match=told):
                check_choices(Training(optimizer=Choice.of("timm:lion", **options)), FACTS)

    def test_an_unknown_name_is_refused_with_those_close(self):
        with pytest.raises(UnknownKeyError, match="timm:lamb"):
            check_choices(Training(optimizer=Choice(name="timm:lamp")), FACTS)

    def test_second_derivatives_are_refused(self):
        with pytest.raises(ConfigError, match="second"):
            check_choices(Training(optimizer=Choice(name="timm:adahessian")), FACTS)

    @pytest.mark.slow
    def test_what_a_checkpoint_cannot_hold_is_refused(self):
        with pytest.raises(ConfigError, match="'Q' as list"):
            check_choices(Training(optimizer=Choice(name="timm:kron")), FACTS)

    @pytest.mark.parametrize("name", ["nadamw", "lamb"])
    def test_they_train(self, tmp_path, plain, name):
        weights, story = _trained(tmp_path, optimizer=f"timm:{name}", lr=0.01)
        assert weights != plain[0]
        assert story["recipe"]["optimizer"]["name"] == f"timm:{name}"
