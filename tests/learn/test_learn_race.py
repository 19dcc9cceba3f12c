"""The race keeps the best, drops the hopeless early, keeps the time and remembers."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from race_ground import candidates, ground

from clearsight.core.errors import ClearsightError, DataError, InterruptedRun
from clearsight.learn.search import race as race_module
from clearsight.learn.search.race import Race
from clearsight.learn.search.verdict import drop_worse, merits, worse

GOOD, FAIR, BAD = (1.0, 0.1, 0.0), (1.0, 1.4, 0.0), (0.0, 1.0, 0.0)


@pytest.fixture(autouse=True)
def _families_are_planted(monkeypatch):
    monkeypatch.setattr("clearsight.learn.search.kept.build_family", lambda candidate: None)
    monkeypatch.setattr(race_module, "loading_torch", lambda candidates: None)


@pytest.fixture(autouse=True)
def _only_trainings_take_time(monkeypatch):
    """Plant the clock: what a forecast multiplies must not hold a busy machine's delays."""
    clock = SimpleNamespace(now=1000.0)

    def take(seconds):
        clock.now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr("race_ground.take", take)


def run(field, *keys, seconds=None):
    end = None if seconds is None else time.monotonic() + seconds
    race = Race(field, end)
    return race, race.run(candidates(*keys))


def trained(field):
    return [(key, name.rsplit("/", 1)[1]) for key, name, _ in field.calls]


@pytest.mark.parametrize("order", [("classical", "compact"), ("compact", "classical")])
@pytest.mark.parametrize("better", ["classical", "compact"])
def test_the_better_one_wins_whoever_comes_first(tmp_path, order, better):
    plans = dict.fromkeys(order, FAIR) | {better: GOOD}
    race, best = run(ground(tmp_path, plans, 20.0), *order, seconds=20.0)
    assert best.candidate.key == better
    assert {entry["state"] for entry in race.told()["race"]} == {"finished"}


def test_one_that_gains_from_time_gets_all_that_is_left(tmp_path):
    field = ground(tmp_path, {"classical": FAIR, "compact": GOOD}, 20.0)
    run(field, "classical", "compact", seconds=20.0)
    (_, _, quick_s), (_, _, long_s) = field.calls
    assert quick_s < 2.1
    assert long_s > 18


def test_a_hopeless_one_leaves_after_a_short_heat(tmp_path):
    field = ground(tmp_path, {"timm": BAD, "compact": GOOD}, 20.0)
    race, best = run(field, "timm", "compact", seconds=20.0)
    assert best.candidate.key == "compact"
    heats = [left_s for _, name, left_s in field.calls if "heat" in name]
    assert len(heats) == 2
    assert max(heats) < 20 * race_module.HEAT_SHARE + 0.5
    assert trained(field)[-1] == ("compact", "1-compact-finished-work")
    dropped = [entry for entry in race.told()["race"] if entry["state"] == "dropped"]
    assert [entry["name"] for entry in dropped] == ["timm"]
    assert "more than chance" in dropped[0]["reason"]


def test_a_backbone_needs_no_heat_where_the_probe_beats_the_rest(tmp_path):
    field = ground(tmp_path, {"probe": FAIR, "timm": GOOD, "compact": BAD}, 20.0)
    race, best = run(field, "probe", "timm", "compact", seconds=20.0)
    assert best.candidate.key == "timm"
    assert trained(field) == [
        ("probe", "0-probe-finished-work"),
        ("compact", "2-compact-heat-work"),
        ("timm", "1-timm-finished-work"),
    ]
    assert "behind the probe" in race.told()["race"][-2]["reason"]


def test_with_few_pictures_nothing_from_scratch_runs_where_the_probe_is_surely_ahead(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(race_module, "cut", by_number)
    plans = {"classical": BAD, "probe": FAIR, "timm": GOOD, "compact": FAIR}
    race, best = run(ground(tmp_path, plans, 20.0), *plans, seconds=20.0)
    assert best.candidate.key == "timm"
    assert [entry["state"] for entry in race.told()["race"]] == [
        "finished", "finished", "dropped", "finished"
    ]  # fmt: skip
    many = ground(tmp_path / "many", plans, 20.0, n=100_000)
    race, _ = run(many, *plans, seconds=20.0)
    assert "compact" in [key for key, _ in trained(many)]


def test_a_backbone_needs_a_heat_where_the_probe_is_not_surely_better(tmp_path):
    field = ground(tmp_path, {"probe": FAIR, "timm": BAD, "compact": GOOD}, 20.0)
    _, best = run(field, "probe", "timm", "compact", seconds=20.0)
    assert best.candidate.key == "compact"
    assert ("timm", "1-timm-heat-work") in trained(field)


def by_number(parts, sizes, seed):
    """Stand in for `cut`: parts of which only the length counts."""
    return {name: type(part)(min(len(part), sizes[name])) for name, part in parts.items()}


def test_one_that_cannot_see_every_picture_in_its_share_is_not_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(race_module, "cut", by_number)
    sizes = []
    slow = (1.0, 1.4, lambda n: sizes.append(n) or n / 1000)
    field = ground(tmp_path, {"classical": slow, "compact": GOOD}, 20.0, n=100_000)
    race, best = run(field, "classical", "compact", seconds=20.0)
    assert sizes == [40, 160]
    assert best.candidate.key == "compact"
    assert "all 100000 pictures would take at least" in race.told()["race"][0]["reason"]


def test_a_trial_that_was_surely_better_is_thought_of_again(tmp_path, monkeypatch):
    monkeypatch.setattr(race_module, "cut", by_number)
    slow = (1.0, 0.1, lambda n: n / 1000)
    field = ground(tmp_path, {"classical": slow, "compact": BAD}, 20.0, n=100_000)
    race, best = run(field, "classical", "compact", seconds=20.0)
    assert best.candidate.key == "classical"
    assert [entry["state"] for entry in race.told()["race"]] == ["dropped", "finished", "finished"]
    assert field.calls[-1][2] < 5, "it may take about what its trial took"


def test_one_whose_trials_say_that_it_fits_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(race_module, "cut", by_number)
    quick = (1.0, 0.1, lambda n: n / 1_000_000)
    field = ground(tmp_path, {"classical": quick, "compact": FAIR}, 20.0, n=100_000)
    race, best = run(field, "classical", "compact", seconds=20.0)
    assert best.candidate.key == "classical"
    assert [entry["state"] for entry in race.told()["race"]] == ["finished", "finished"]


def test_a_failure_costs_the_candidate_and_not_the_race(tmp_path):
    field = ground(tmp_path, {"classical": FAIR, "compact": ClearsightError("diverged")}, 20.0)
    race, best = run(field, "classical", "compact", seconds=20.0)
    assert best.candidate.key == "classical"
    assert race.told()["race"][1]["state"] == "failed"
    with pytest.raises(ClearsightError, match="diverged"):
        run(ground(tmp_path / "2", {"classical": ClearsightError("diverged"),
                                    "compact": ClearsightError("diverged")}, 20.0),
            "classical", "compact", seconds=20.0)  # fmt: skip


@pytest.mark.parametrize("error", [InterruptedRun("stopped"), DataError("no picture")])
def test_what_concerns_everybody_ends_the_race(tmp_path, error):
    field = ground(tmp_path, {"classical": FAIR, "compact": error}, 20.0)
    with pytest.raises(type(error)):
        run(field, "classical", "compact", seconds=20.0)


def test_after_a_kill_nobody_who_finished_is_trained_again(tmp_path):
    plans = {"classical": FAIR, "timm": InterruptedRun("killed"), "compact": GOOD}
    field = ground(tmp_path, plans, 20.0)
    with pytest.raises(InterruptedRun):
        run(field, "classical", "timm", "compact", seconds=20.0)
    whole_field = ground(tmp_path / "whole", {**plans, "timm": FAIR}, 20.0)
    _, whole = run(whole_field, "classical", "timm", "compact", seconds=20.0)
    again = ground(tmp_path, {**plans, "timm": FAIR}, 20.0)
    _, best = run(again, "classical", "timm", "compact", seconds=20.0)
    assert [key for key, *_ in again.calls] == ["timm", "compact"]
    assert best.candidate == whole.candidate
    assert best.figures == whole.figures
    assert best.fitted.onnx_model() == whole.fitted.onnx_model()
    assert np.array_equal(best.val_logits, whole.val_logits)


def test_too_little_time_to_begin(tmp_path, monkeypatch):
    loading = SimpleNamespace(join=lambda timeout: None, seconds=8.0)
    monkeypatch.setattr(race_module, "loading_torch", lambda candidates: loading)
    field = ground(tmp_path, {"classical": FAIR, "compact": GOOD}, 20.0)
    race = Race(field, time.monotonic() + 6)
    assert race.run(candidates("classical", "compact")).candidate.key == "classical"
    assert "too few to begin" in race.told()["race"][-1]["reason"]


def test_a_backbone_that_cannot_see_every_picture_once_is_not_tuned(tmp_path, monkeypatch):
    field = ground(tmp_path, {"probe": FAIR, "timm": GOOD}, 20.0, n=1000)
    train = type(field).train

    def with_story(self, candidate, budget, name, **more):
        done = train(self, candidate, budget, name, **more)
        done.fitted.story.update(features_s=100.0, features_computed=1000)
        return done

    monkeypatch.setattr(type(field), "train", with_story)
    race, best = run(field, "probe", "timm", seconds=20.0)
    assert best.candidate.key == "probe"
    assert "one pass" in race.told()["race"][-1]["reason"]


def test_the_verdict_keeps_its_level():
    """Two that are equally good are called different in at most 5 % of comparisons."""
    random = np.random.default_rng(0)
    rounds = [random.random((2, 500)) < 0.9 for _ in range(400)]
    called = sum(worse(one / 500, other / 500) for one, other in rounds)
    assert called / 400 <= 0.06
    clearly = random.random((2, 500)) < np.array([[0.8], [0.9]])
    assert worse(clearly[0] / 500, clearly[1] / 500)
    assert drop_worse({"a": clearly[0] / 500, "b": clearly[1] / 500}).keys() == {"a"}


def test_merits_add_up_to_the_accuracy():
    logits = np.array([[2, 1], [2, 1], [2, 1], [1, 2]], np.float32)
    labels = np.array([0, 0, 1, 1])
    assert merits(logits, labels).sum() == 0.75
    assert merits(np.tile(logits[:1], (4, 1)), np.array([0, 0, 0, 1]), balanced=True).sum() == 0.5
    assert merits(logits, np.eye(2, dtype=np.int64)[labels]).shape == (4,)
