"""Models in a memory budget: loaded when asked for, unloaded when least used, never in use."""

import threading
import time

import pytest

from clearsight.core.errors import BundleError
from clearsight.serve.calls import Job
from clearsight.serve.errors import ModelFailedError, StartError
from clearsight.serve.fair_queue import FairQueue
from clearsight.serve.loading import Loader, Opened, default_budget, resident_bytes
from clearsight.serve.metrics import Metrics
from clearsight.serve.models import Model

SIZE = 10**12  # far beyond what a test's process grows by, so that sizes are exact


class Shelf:
    """Opens models; remembers which, and can be told to fail or to wait."""

    def __init__(self):
        self.opened, self.broken = [], set()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, model):
        self.go.wait(5)
        self.opened.append(model.name)
        if model.name in self.broken:
            raise BundleError(f"{model.name} is broken")
        return Opened(predictor=object(), engine="planted")


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def line():
    return FairQueue(1, 1000, {})


@pytest.fixture
def loader(shelf, line):
    loader = Loader(shelf, line, 2 * SIZE, Metrics())
    yield loader
    shelf.go.set()
    loader.close()


def model(name):
    return Model(name, "1", source=lambda: None, memory_bytes=SIZE)


@pytest.fixture(autouse=True)
def sizes(monkeypatch):
    monkeypatch.setattr("clearsight.serve.loading.len_of_model", lambda model: SIZE)


def wait_for(line, of, seconds=100.0):
    now = time.monotonic()
    job = Job(of, b"", 1, "normal", now + seconds, now)
    line.put([job], seconds)
    return job


def until(holds):
    ends = time.monotonic() + 5
    while not holds() and time.monotonic() < ends:
        time.sleep(0.005)
    assert holds()


def use(line, of):
    wait_for(line, of)
    taken = line.take()
    assert taken[0].model is of
    line.done(taken, 0.001)


def test_the_least_recently_used_goes(loader, line):
    cats, dogs, hats = model("cats"), model("dogs"), model("hats")
    loader.load(cats)
    loader.load(dogs)
    use(line, cats)
    loader.load(hats)
    assert (cats.loaded, dogs.loaded, hats.loaded) == (True, False, True)
    assert loader.resident_bytes() == 2 * SIZE


def test_a_model_with_waiting_pictures_stays_while_another_has_none(loader, line):
    cats, dogs, hats = model("cats"), model("dogs"), model("hats")
    loader.load(cats)
    loader.load(dogs)
    use(line, dogs)
    wait_for(line, cats)  # used longest ago, but wanted
    loader.load(hats)
    assert (cats.loaded, dogs.loaded) == (True, False)


def test_a_model_in_use_is_waited_for(loader, line):
    cats, dogs, hats = model("cats"), model("dogs"), model("hats")
    for each in (cats, dogs):
        loader.load(each)
        wait_for(line, each)
    taken = [line.take(), line.take()]
    loading = threading.Thread(target=loader.load, args=(hats,))
    loading.start()
    time.sleep(0.05)
    assert not hats.loaded
    line.done(taken[0], 0.001)
    loading.join(5)
    assert hats.loaded
    assert taken[1][0].model.loaded
    line.done(taken[1], 0.001)


def test_pictures_of_a_cold_model_have_it_loaded(loader, line, shelf):
    cats = model("cats")
    wait_for(line, cats)
    loader.ask(cats)
    until(lambda: cats.loaded)
    assert line.take()[0].model is cats
    assert shelf.opened == ["cats"]


def test_many_models_in_a_small_budget_all_get_their_turn(loader, line, shelf):
    models = [model(f"m{i}") for i in range(8)]
    jobs = [wait_for(line, each) for each in models for _ in range(3)]
    for each in models:
        loader.ask(each)
    for _ in jobs:
        taken = line.take()
        taken[0].future.set_result(None)
        line.done(taken, 0.001)
    assert all(job.future.done() for job in jobs)
    assert sum(each.loaded for each in models) <= 2


def test_a_model_that_cannot_be_loaded_fails_its_own_pictures_only(loader, line, shelf):
    shelf.broken.add("cats")
    cats, dogs = model("cats"), model("dogs")
    lost = wait_for(line, cats)
    loader.ask(cats)
    with pytest.raises(ModelFailedError):
        lost.future.result(5)
    assert cats.problem == "cats is broken"
    wait_for(line, dogs)
    loader.ask(dogs)
    until(lambda: dogs.loaded)


def test_a_model_beyond_the_whole_budget_is_refused_with_the_option_to_raise(loader):
    huge = model("huge")
    huge.memory_bytes = 3 * SIZE
    with pytest.raises(StartError, match="--memory"):
        loader.load(huge)


def test_a_retired_model_goes_after_its_last_picture(loader, line):
    cats = model("cats")
    loader.load(cats)
    wait_for(line, cats)
    loader.retire(cats)
    time.sleep(0.15)
    assert cats.loaded, "a picture still waits for it"
    line.done(line.take(), 0.001)
    until(lambda: not cats.loaded)


def test_the_budget_is_half_of_the_machine_and_memory_can_be_read():
    assert default_budget() > 10**8
    assert resident_bytes() > 10**6
