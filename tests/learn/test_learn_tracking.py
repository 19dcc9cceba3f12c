"""Curves and results are read back with the trackers' own readers."""

import importlib.util

import gradient_worker
import pytest

from clearsight.core.errors import ConfigError, MissingExtraError
from clearsight.core.progress import Silent
from clearsight.learn import tracking
from clearsight.learn.family import Budget
from clearsight.learn.settings import TrainSettings
from clearsight.learn.tracking import Curves, check_trackers, export_to_mlflow
from clearsight.learn.trainers.gradient import Recipe, train_network


def _read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_a_training_draws_its_curves_for_tensorboard(tmp_path):
    job = gradient_worker.make_job(tmp_path / "work", Budget(epochs=20), gradient_worker.Quiet())
    with Curves(tmp_path, ("tensorboard",)) as curves:
        job.track = curves.of("0-toy")
        story = train_network(
            gradient_worker.make_network(job, width=4), job, Recipe(lr=0.01, batch_size=16)
        )
    drawn = _read(tmp_path / "tensorboard/0-toy")
    assert [step for step, _ in drawn["val_accuracy"]] == [each["step"] for each in story["curve"]]
    assert drawn["val_accuracy"][-1][1] == pytest.approx(story["curve"][-1]["val_accuracy"])
    assert len(drawn["loss"]) == story["steps"]
    assert max(rate for _, rate in drawn["learning_rate"]) == pytest.approx(0.01, rel=0.2)


def test_steps_drawn_again_after_a_resume_replace_the_old_ones(tmp_path):
    for steps, value in ((range(1, 8), 1.0), (range(5, 9), 2.0)):
        with Curves(tmp_path, ("tensorboard",)) as curves:
            for step in steps:
                curves.of("x")(step, {"loss": value})
    drawn = _read(tmp_path / "tensorboard/x")["loss"]
    assert drawn == [(step, 1.0 if step < 5 else 2.0) for step in range(1, 9)]


def test_nothing_is_written_that_was_not_asked_for(tmp_path):
    with Curves(tmp_path, ("mlflow",)) as curves:
        curves.of("x")(1, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


OUTCOME = {
    "family": "compact",
    "seconds": 12.5,
    "settings": {"model": "compact", "seed": 3, "split": {"val": 0.1}},
    "evaluate": {"accuracy": 0.93, "accuracy_ci": [0.9, 0.95], "n": 100},
    "story": {
        "recipe": {"loss": {"name": "focal", "options": {"gamma": 2.0}}},
        "curve": [{"step": 10, "epoch": 1.0, "val_accuracy": 0.8}],
    },
}


def test_a_finished_run_is_exported_to_mlflow(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = tmp_path / "run with spaces"
    run.mkdir()
    export_to_mlflow(run, OUTCOME, Silent())
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(run / "mlruns").as_uri())
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["settings.split.val"] == "0.1"
    assert found.data.params["recipe.loss.options.gamma"] == "2.0"
    assert found.data.metrics["final/accuracy"] == 0.93
    assert found.data.tags["clearsight.bundle"] == str(run / "bundle")
    history = client.get_metric_history(found.info.run_id, "val_accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(10, 0.8)]


def test_an_mlflow_that_fails_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "file/mlruns").as_uri())

    class Said(Silent):
        told = ()

        def say(self, event, **fields):
            self.told += (event,)

    said = Said()
    export_to_mlflow(tmp_path, OUTCOME, said)
    assert said.told == ("MLflow was not told",)


def test_a_missing_package_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"clearsight\[tracking\]"):
        check_trackers(("tensorboard",))
    check_trackers(())


def test_settings_take_one_tracker_or_several():
    assert TrainSettings.parse({"track": "mlflow"}).track == ("mlflow",)
    assert TrainSettings.parse({"track": ["tensorboard", "mlflow"]}).track[0] == "tensorboard"
    with pytest.raises(ConfigError, match="tensorboard"):
        TrainSettings.parse({"track": "wandb"})


def test_trackers_are_installed_for_these_tests():
    assert all(importlib.util.find_spec(name) for name in ("tensorboard", "mlflow"))
