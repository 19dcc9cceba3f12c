"""A study: what is searched, what is on disk, what is refused, and the run that comes of it."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time

import pytest
from planted_family import plant, write_bright_and_dark

import clearsight
from clearsight.api import plan_study
from clearsight.core.bundle import open_bundle
from clearsight.core.errors import ClearsightError, DataError, StorageError, UsageError
from clearsight.core.progress import Silent
from clearsight.learn.family import Facts
from clearsight.learn.search.space import RECIPES, Axis, Space, decisions, derive_space
from clearsight.learn.search.study import DEATHS, STARTUP_TRIALS, Pruned, Study
from clearsight.learn.settings import TrainSettings

FACTS = Facts(("a", "b"), (50, 50), 28, 28, True)
IDENTITY = {"data": "f1", "settings": "s1"}
SPACE = Space({"m": (Axis("family.x", None, 0.1, 10.0, log=True, default=1.0),)})


class Said(Silent):
    """Remembers what was said."""

    def __init__(self):
        self.lines = []

    def say(self, event, **fields):
        self.lines.append(f"{event} {fields}")


@pytest.fixture
def planted(monkeypatch):
    return plant(monkeypatch)


@pytest.fixture
def data(tmp_path):
    return write_bright_and_dark(tmp_path / "data")


def tune(data, out, *settings, **options):
    chosen = ["epochs=1", *settings]
    return clearsight.tune(data, out=out, models=["planted"], settings=chosen, **options)


def kept_to_its_deadline(fit):
    """Return a training that uses its time up, as trainers do."""

    def until_the_deadline(self, job):
        quick = type(self)(self.config.model_copy(update={"seconds": None}))
        time.sleep(max(0.0, job.budget.remaining_s()))
        return fit(quick, job)

    return until_the_deadline


def test_the_best_settings_become_a_run(planted, data, tmp_path):
    found = tune(data, tmp_path / "study", "family.kind=a", trials=6)
    outcome = found.outcome
    assert [trial["number"] for trial in outcome["trials"]] == list(range(6))
    assert outcome["trials"][0]["parameters"]["planted: family.skill"] == 0.2, "defaults first"
    values = [trial["value"] for trial in outcome["trials"] if trial["value"] is not None]
    assert outcome["best"]["value"] == max(values)
    assert outcome["evaluate"]["accuracy"] == max(values)
    assert open_bundle(found.run / "bundle").manifest.family == "planted"
    assert not (tmp_path / "study" / "work").exists()
    report = (tmp_path / "study" / "report.html").read_text()
    assert "<script" not in report
    assert "planted: family.skill" in report
    best = json.loads((tmp_path / "study" / "best.json").read_text())
    settings = TrainSettings.parse(best)
    assert settings.model == "planted"
    assert settings.family["skill"] == outcome["best"]["parameters"]["planted: family.skill"]
    again = clearsight.train(data, out=tmp_path / "again", config=tmp_path / "study" / "best.json")
    assert again.manifest.metrics["accuracy"] == max(values)
    assert clearsight.load(found.run).evaluate().figures.n > 0


def test_what_the_user_fixed_is_not_searched(planted, data, tmp_path):
    found = tune(data, tmp_path / "study", "family.skill=0.4", trials=4)
    searched = {axis["setting"] for axis in found.outcome["space"]["planted"]}
    assert searched == {"family.noise", "family.kind"}
    assert {config.skill for config in planted.fits} == {0.4}
    free = plan_study(data, settings=["epochs=1"], models=["planted"])
    assert {axis["setting"] for axis in free["space"]["planted"]} == searched | {"family.skill"}


def test_failed_trials_are_told_and_cost_only_themselves(planted, data, tmp_path):
    found = tune(data, tmp_path / "study", trials=8)
    failed = [trial for trial in found.outcome["trials"] if trial["state"] == "fail"]
    assert failed
    assert all("not a number" in trial["error"] for trial in failed)
    with pytest.raises(ClearsightError, match=r"first 3 trials failed.*not a number"):
        tune(data, tmp_path / "hopeless", "family.kind=b")


def test_a_bad_trial_is_pruned_and_costs_less(planted, data, tmp_path):
    found = tune(data, tmp_path / "study", "family.kind=a", trials=14, seed=3)
    states = [trial["state"] for trial in found.outcome["trials"]]
    assert states[:STARTUP_TRIALS] == ["complete"] * STARTUP_TRIALS
    assert "pruned" in states
    best = max(trial["value"] or 0 for trial in found.outcome["trials"])
    assert found.outcome["best"]["value"] == best


def test_the_time_is_kept(planted, data, tmp_path, monkeypatch):
    import optuna.importance  # noqa: F401 - the first import is not the study's to pay

    began = time.monotonic()
    settings = ["family.kind=a", "family.seconds=100"]
    monkeypatch.setattr(planted, "fit", kept_to_its_deadline(planted.fit))
    found = clearsight.tune(
        data, out=tmp_path / "study", models=["planted"], settings=settings, time="8s"
    )
    seconds = time.monotonic() - began
    if os.getloadavg()[0] > (os.cpu_count() or 1):
        pytest.skip(f"the machine is busy; it took {seconds:.1f} s of 8")
    assert seconds < 8 * 1.25
    assert len(found.outcome["trials"]) > 2


def test_the_same_seed_draws_the_same(tmp_path):
    def drawn(name, seed):
        study = Study(tmp_path / name, SPACE, seed, IDENTITY)
        for _ in range(STARTUP_TRIALS + 3):
            trial = study.ask()
            trial.complete(1 / (1 + abs(trial.values["family.x"] - 2)))
        return [told.parameters["m: family.x"] for told in study.trials()]

    assert drawn("one", 4) == drawn("two", 4) != drawn("three", 5)


def test_resuming(planted, data, tmp_path, monkeypatch):
    out = tmp_path / "study"
    train, calls = planted.fit, []

    def killed(self, job):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return train(self, job)

    monkeypatch.setattr(planted, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        tune(data, out, "family.kind=a", trials=6, seed=1)
    with pytest.raises(UsageError, match="--resume"):
        tune(data, out, "family.kind=a", trials=6)
    said = Said()
    found = clearsight.tune(data, out=out, resume=True, progress=said)
    assert any("Trial 3 was cut off" in line for line in said.lines)
    whole = tune(data, tmp_path / "whole", "family.kind=a", trials=6, seed=1)
    ended = [
        [(t["parameters"], t["value"]) for t in one.outcome["trials"] if t["state"] != "fail"]
        for one in (found, whole)
    ]
    assert ended[0] == ended[1]
    assert found.outcome["trials"][3]["state"] == "fail"
    assert clearsight.tune(data, out=out, resume=True).outcome == found.outcome


def test_other_data_or_settings_are_refused(planted, data, tmp_path, monkeypatch):
    out = tmp_path / "study"
    monkeypatch.setattr(planted, "fit", lambda self, job: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tune(data, out, trials=5)
    other = write_bright_and_dark(tmp_path / "other", 30)
    with pytest.raises(DataError, match="not what this study began with"):
        clearsight.tune(other, out=out, resume=True)
    with pytest.raises(UsageError, match=r"other settings \(seed"):
        tune(data, out, seed=9, resume=True)
    with pytest.raises(UsageError, match="holds no study"):
        clearsight.tune(data, out=tmp_path / "nothing", resume=True)
    with pytest.raises(UsageError, match="not empty"):
        tune(data, data)


@pytest.mark.parametrize("damage", ["text", "foreign", "torn", "empty"])
def test_a_damaged_or_foreign_file_is_left_alone(tmp_path, damage):
    path = tmp_path / "study.sqlite3"
    if damage == "text":
        path.write_text("not a database " * 100)
    elif damage == "foreign":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE accounts (name TEXT)")
        other.close()
    elif damage == "torn":
        Study(path, SPACE, 0, IDENTITY)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    else:
        path.touch()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(StorageError, match="not changed"):
        Study(path, SPACE, 0, IDENTITY)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["data", "settings"])
def test_a_study_of_something_else_is_refused(tmp_path, name):
    path = tmp_path / "study.sqlite3"
    Study(path, SPACE, 0, IDENTITY)
    with pytest.raises(DataError, match=f"other {name}"):
        Study(path, SPACE, 0, IDENTITY | {name: "else"})
    Study(path, SPACE, 0, IDENTITY)


def test_what_a_dead_process_had_drawn_is_tried_again(tmp_path):
    path, drawn = tmp_path / "study.sqlite3", []
    for _ in range(DEATHS):
        study = Study(path, SPACE, 0, IDENTITY)
        study.clear_dead()
        drawn.append(study.ask().values)
    assert all(values == drawn[0] == {"family.x": 1.0} for values in drawn)
    study = Study(path, SPACE, 0, IDENTITY)
    assert len(study.clear_dead()) == 1
    assert study.ended() == 1
    assert study.trials()[-1].about["error"] == f"its process ended {DEATHS} times"
    assert study.ask().values != drawn[0]


def test_a_kill_before_anything_is_drawn(tmp_path):
    path = tmp_path / "study.sqlite3"
    Study(path, SPACE, 0, IDENTITY)._study.ask()
    study = Study(path, SPACE, 0, IDENTITY)
    assert study.clear_dead() == [0]
    assert study.ask().values == {"family.x": 1.0}


def test_pruning_needs_others_to_compare_with(tmp_path):
    study = Study(tmp_path / "study.sqlite3", SPACE, 0, IDENTITY)
    for _ in range(STARTUP_TRIALS):
        trial = study.ask()
        for step in range(1, 11):
            trial.report(step / 10, 0.9)
        trial.complete(0.9)
    trial = study.ask()
    trial.report(0.1, 0.1)
    with pytest.raises(Pruned):
        trial.report(0.5, 0.1)
    good = study.ask()
    for step in range(1, 11):
        good.report(step / 10, 0.95)


def test_every_axis_changes_the_settings_and_is_accepted():
    base = TrainSettings.parse({"epochs": 1})
    models = ["classical", "compact", "textbook", "probe"]
    space = derive_space(models, base, FACTS)
    assert space.axes["compact"]
    for model in models:
        for axis in space.axes[model]:
            drawn = list(axis.choices) if axis.choices is not None else [axis.low, axis.high]
            drawn = [int(one) if axis.whole else one for one in drawn]
            made = [space.settings(base, model, axis.values(one)) for one in drawn]
            assert len({one.model_dump_json() for one in made}) == len(made), axis.name


def test_decisions_take_axes_away():
    base = TrainSettings.parse({"epochs": 1, "training": {"lr": 0.01, "loss": "focal"}})
    assert decisions(base) == {"training.lr", "training.loss"}
    names = {axis.name for axis in derive_space(["compact"], base, FACTS).axes["compact"]}
    assert "training.weight_decay" in names
    assert not names & {"training.lr", "training.loss.options.smoothing"}


@pytest.mark.parametrize("key", ["compact", "textbook"])
def test_a_study_begins_with_the_families_own_recipe(key, tmp_path, monkeypatch):
    from clearsight.learn.families import compact, textbook
    from clearsight.learn.family import FAMILIES, Budget
    from clearsight.testing.family_contract import toy_job

    caught = []

    def catch(network, job, recipe):
        caught.append(recipe)
        raise KeyboardInterrupt

    module = {"compact": compact, "textbook": textbook}[key]
    monkeypatch.setattr(module, "train_network", catch)
    family = FAMILIES.load(key)
    with pytest.raises(KeyboardInterrupt):
        family(family.Config()).fit(toy_job(family, tmp_path, Budget(epochs=1)))
    (recipe,) = caught
    loss = recipe.loss if isinstance(recipe.loss, str) else recipe.loss.options
    smoothing = 0.0 if isinstance(loss, str) else loss["smoothing"]
    assert RECIPES[key] == (recipe.lr, recipe.weight_decay, smoothing)
