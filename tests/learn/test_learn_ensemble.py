"""An ensemble is one graph that is better than its best member, or it is not made."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from race_ground import candidates, ground

from clearsight.core.agreement import agreement
from clearsight.core.calibration import fit_temperature, softmax
from clearsight.core.errors import ConfigError
from clearsight.core.nouns import Preprocessing
from clearsight.engines.open import open_session
from clearsight.learn.contest import find_candidates
from clearsight.learn.family import Budget, Facts
from clearsight.learn.search.ensemble import ensemble
from clearsight.learn.search.verdict import merits
from clearsight.learn.settings import TrainSettings

FACTS = Facts(("a", "b"), (50, 50), 28, 28, True)


def judge(probabilities, labels, classes, task):
    accuracy = float((probabilities.argmax(1) == labels).mean())
    return {"accuracy": accuracy, "log_loss": 1 - accuracy}


@pytest.fixture
def field(tmp_path):
    plans = {f"m{n}": (1.0, 1.6, 0.0, 4 + n) for n in range(4)}
    plans["copy"] = plans["m0"]
    plans["bad"] = (0.0, 1.0, 0.0, 9)
    made = ground(tmp_path, plans, 20.0)
    made.seams.judge = judge
    return made


def trained(field, *keys):
    found = [field.train(one, Budget(), one.key) for one in candidates(*keys)]
    for one in found:
        temperature = fit_temperature(one.val_logits, one.val.labels)
        object.__setattr__(one, "temperature", temperature)
    return sorted(found, key=lambda one: one.rank, reverse=True)


def accuracy(one):
    return float(merits(one.val_logits, one.val.labels).sum())


def test_members_that_err_apart_are_better_together(field):
    best, *others = trained(field, "m0", "m1", "m2", "m3")
    joined = ensemble(best, others, field, most_cost=10)
    assert accuracy(joined) > accuracy(best) + 0.03
    story = joined.fitted.story
    assert len(story["members"]) > 1
    assert sum(member["weight"] for member in story["members"]) == pytest.approx(1, abs=1e-3)
    assert story["gain"] > 0
    assert "points better" in joined.candidate.reason
    assert joined.figures["accuracy"] == accuracy(joined)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_joined_graph_answers_as_its_members(field, engine):
    best, *others = trained(field, "m0", "m1", "m2", "m3")
    joined = ensemble(best, others, field, most_cost=10)
    content = joined.fitted.onnx_model()
    model = onnx.load_from_string(content)
    assert [one.name for one in model.graph.input] == ["images"]
    assert [one.name for one in model.graph.output] == ["logits"]
    got = open_session(content, engine).run(joined.val.images)["logits"]
    wanted = joined.fitted.logits(joined.val.images)
    assert np.allclose(wanted, joined.val_logits, atol=1e-5)
    assert agreement(softmax(wanted), softmax(got)).holds
    assert set(joined.fitted.weights()) == {
        f"member{n}.planted" for n in range(len(joined.fitted.members))
    }


@pytest.mark.parametrize("others", [("copy",), ("bad",)])
def test_no_ensemble_without_a_gain(field, others):
    best, *rest = trained(field, "m0", *others)
    assert ensemble(best, rest, field, most_cost=10) is None


def test_the_cost_is_kept(field, monkeypatch):
    best, *others = trained(field, "m0", "m1", "m2", "m3")
    monkeypatch.setattr(
        "clearsight.learn.search.ensemble._costs", lambda members: [1.0] * len(members)
    )
    joined = ensemble(best, others, field, most_cost=2)
    assert len(joined.fitted.members) == 2
    assert joined.fitted.story["cost"] == 2
    assert ensemble(best, others, field, most_cost=1.5) is None


def test_another_input_cannot_join(field):
    best, *others = trained(field, "m0", "m1")
    for one in others:
        object.__setattr__(one, "preprocessing", Preprocessing(height=5, width=4, channels=1))
    assert ensemble(best, others, field, most_cost=10) is None


def test_never_below_its_best_member(field):
    """Whatever joins: the answer on validation is at least as good as the best alone."""
    random = np.random.default_rng(0)
    made = 0
    for _ in range(12):
        noises = random.uniform(1.2, 2.0, 4)
        for n, noise in enumerate(noises):
            field.plans[f"m{n}"] = (1.0, float(noise), 0.0, 4 + n)
        best, *others = trained(field, "m0", "m1", "m2", "m3")
        joined = ensemble(best, others, field, most_cost=10)
        if joined is not None:
            made += 1
            assert accuracy(joined) >= accuracy(best)
    assert made > 0


@pytest.mark.parametrize("values", [{"model": "hog", "time_s": 60}, {"epochs": 1}])
def test_an_option_that_would_do_nothing_is_refused(values):
    settings = TrainSettings.parse({**values, "ensemble_cost": 2})
    with pytest.raises(ConfigError, match="ensemble_cost would do nothing"):
        find_candidates(settings, FACTS)


def test_what_joins_is_told(field):
    best, *others = trained(field, "m0", "m1", "m2")
    config = ensemble(best, others, field, most_cost=10).family.config
    assert {member["family"] for member in config.members} <= {"m0", "m1", "m2"}
