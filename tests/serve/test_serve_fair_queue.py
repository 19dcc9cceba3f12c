"""The queue by itself: order, shares, bounds, deadlines; no thread but the test's own."""

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearsight.serve.calls import Job
from clearsight.serve.errors import ExpiredError, NotReadyError, OverloadedError
from clearsight.serve.fair_queue import ON_TIME, FairQueue
from clearsight.serve.models import Model


def model(name, run_s=0.01, **told):
    return Model(name, "1", predictor=object(), run_s=run_s, **told)


def job(of, lane="normal", seconds=100.0):
    now = time.monotonic()
    return Job(of, b"", 1, lane, now + seconds, now)


def queue(workers=1, room=1000, **shares):
    return FairQueue(workers, room, shares)


def put(line, of, count=1, lane="normal", seconds=100.0):
    jobs = [job(of, lane, seconds) for _ in range(count)]
    line.put(jobs, seconds)
    return jobs


def drain(line, most=10_000):
    """Take everything, each picture running as long as its model says; return names in order."""
    names = []
    while line.waiting() and len(names) < most:
        taken = line.take()
        names += [each.model.name for each in taken]
        line.done(taken, taken[0].model.run_s * len(taken))
    return names


def test_within_a_model_first_come_first_served():
    line, cats = queue(), model("cats")
    jobs = put(line, cats, 5)
    assert [line.take()[0] for _ in range(5)] == jobs


def test_batch_runs_when_nothing_normal_waits():
    line, cats, dogs = queue(), model("cats"), model("dogs")
    put(line, cats, 3, lane="batch")
    put(line, dogs, 3)
    assert drain(line) == ["dogs"] * 3 + ["cats"] * 3


@pytest.mark.parametrize("slow_first", [False, True])
def test_two_busy_models_get_the_same_time_however_long_their_pictures_take(slow_first):
    line, quick, slow = queue(), model("quick", 0.001), model("slow", 0.01)
    for of in (slow, quick) if slow_first else (quick, slow):
        put(line, of, 400)
    names = drain(line, most=220)
    assert 150 < names.count("quick") < 210, names.count("quick")  # 200 : 20 is exactly fair


def test_a_share_of_two_gives_twice_the_time():
    line, cats, dogs = queue(cats=2.0), model("cats"), model("dogs")
    put(line, cats, 300)
    put(line, dogs, 300)
    names = drain(line, most=90)
    assert names.count("cats") == pytest.approx(60, abs=2)


def test_an_idle_model_saves_no_time_up():
    line, cats, dogs = queue(), model("cats"), model("dogs")
    put(line, cats, 100)
    drain(line)
    put(line, cats, 50)
    put(line, dogs, 50)
    names = drain(line, most=20)
    assert names.count("cats") >= 9, names


def test_a_model_that_is_not_loaded_waits_and_holds_nobody_up():
    line, cold, warm = queue(), model("cold"), model("warm")
    cold.predictor = None
    put(line, cold, 2)
    put(line, warm, 2)
    assert [line.take()[0].model.name for _ in range(2)] == ["warm", "warm"]
    cold.predictor = object()
    assert line.take()[0].model.name == "cold"


def test_pictures_of_one_model_run_together_up_to_its_batch():
    line, cats = queue(), model("cats", run_s=0.001, batch=4)
    put(line, cats, 6)
    assert [len(line.take()) for _ in range(2)] == [4, 2]


def test_a_batch_leaves_work_for_idle_workers():
    line, cats = queue(workers=2), model("cats", run_s=0.001, batch=8)
    put(line, cats, 8)
    assert len(line.take()) == 4


def test_a_batch_leaves_busy_workers_their_share_too():
    line, cats = queue(workers=2), model("cats", batch=8)
    put(line, cats, 1)
    line.take()
    put(line, cats, 6)
    assert [len(line.take()), len(line.take())] == [3, 2]  # half of what waits, then half again


def test_a_batch_keeps_the_first_deadline():
    line, cats = queue(), model("cats", run_s=1.0, batch=8)
    put(line, cats, 1, seconds=2.5)
    put(line, cats, 5, seconds=100.0)
    assert len(line.take()) == 2


def test_expired_pictures_end_without_a_worker():
    line, cats = queue(), model("cats")
    late = put(line, cats, seconds=100.0)[0]
    late.deadline = time.monotonic() - 1
    fresh = put(line, cats)[0]
    assert line.take() == [fresh]
    with pytest.raises(ExpiredError):
        late.future.result(0)


def test_full_means_full_for_one_class_only():
    line, cats = queue(room=2), model("cats")
    put(line, cats, 2, lane="batch")
    with pytest.raises(OverloadedError):
        put(line, cats, lane="batch")
    put(line, cats, 2)
    assert line.waiting() == 4


def test_the_forecast_counts_what_is_ahead_and_only_that():
    line, cats = queue(), model("cats", run_s=1.0)
    put(line, cats, 5, lane="batch")
    put(line, cats, 2, seconds=3.5)  # batch waits behind it
    with pytest.raises(OverloadedError) as refused:
        put(line, cats, seconds=2.5)
    assert refused.value.retry_after_s == pytest.approx(3.0 - ON_TIME * 2.5, abs=0.2)
    with pytest.raises(OverloadedError):
        put(line, cats, lane="batch", seconds=6.0)  # normal and batch are ahead of it


def test_an_idle_worker_tries_whatever_the_forecast_says():
    line, cats = queue(), model("cats", run_s=50.0)  # a stale measurement
    assert put(line, cats, seconds=1.0)


def test_closed_takes_no_more_and_gives_what_waits():
    line, cats = queue(), model("cats")
    put(line, cats)
    line.close()
    with pytest.raises(NotReadyError):
        put(line, cats)
    taken = line.take()
    line.done(taken, 0.0)
    assert line.take() is None


def test_a_model_in_use_is_not_unloaded():
    line, cats = queue(), model("cats")
    put(line, cats)
    taken = line.take()
    assert not line.unload(cats)
    line.done(taken, 0.0)
    assert line.unload(cats)
    assert not cats.loaded


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "take", "remove", "done"]),
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["normal", "batch"]),
            st.integers(1, 4),
        ),
        max_size=60,
    )
)
def test_whatever_happens_every_picture_is_waiting_taken_or_removed(steps):
    models = {name: model(name, batch=2) for name in "abc"}
    line, known, taken, removed = queue(workers=2, room=20), [], [], []
    running = []
    for step, name, lane, count in steps:
        if step == "put":
            with suppress(OverloadedError):
                known += put(line, models[name], count, lane)
        elif step == "take" and line.waiting():
            running.append(line.take())
            taken += running[-1]
        elif step == "done" and running:
            line.done(running.pop(), 0.001)
        elif step == "remove":
            waiting = [each for each in known if each not in taken and each not in removed]
            if waiting:
                line.remove(waiting[0])
                removed.append(waiting[0])
        assert line.waiting() == len(known) - len(taken) - len(removed)
    assert len({id(each) for each in taken}) == len(taken), "a picture was taken twice"
    assert not line.waiting() or line._ahead_s["normal"] + line._ahead_s["batch"] > 0
