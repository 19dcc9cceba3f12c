"""Drift: no false alarms when nothing changed, an alarm when something did."""

import json
import time
import urllib.request

import numpy as np
import pytest
from world import CLASSES, World

from clearsight.core.nouns import Prediction
from clearsight.core.reference import DIRECTIONS, Reference, directions, project, reference_of
from clearsight.engines.open import open_predictor
from clearsight.serve.calls import Observation
from clearsight.serve.operations.drift import Window, divergence, judge
from clearsight.serve.operations.monitors import Monitors
from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service
from clearsight.testing.tiny_bundle import write_colour_bundle

WINDOW = 300
SIGNS = [1, -1, -1, 1, 1, -1, 1, -1]


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def reference(world):
    probabilities, embeddings = world.answers(world.pictures(500, np.random.default_rng(1))[0])
    return reference_of(probabilities, embeddings[:256])


def window(world, draw, n=WINDOW, **change):
    probabilities, embeddings = world.answers(world.pictures(n, draw, **change)[0])
    return Window(
        probabilities.argmax(axis=1),
        probabilities.max(axis=1).astype(np.float64),
        project(embeddings).astype(np.float64),
    )


def test_the_same_world_raises_no_alarm_in_95_of_100_windows(world):
    alarms, windows = 0, 0
    for seed in range(10):  # other references, so that no lucky one decides
        draw = np.random.default_rng(100 + seed)
        probabilities, embeddings = world.answers(world.pictures(500, draw)[0])
        made = reference_of(probabilities, embeddings[:256])
        for _ in range(20):
            alarms += judge(made, window(world, draw), seed=windows).drifted
            windows += 1
    assert windows == 200
    assert alarms <= 10, f"{alarms} of {windows} windows raised a false alarm"


@pytest.mark.parametrize("n", [60, 1000])
def test_the_threshold_follows_the_number_of_pictures(world, reference, n):
    draw = np.random.default_rng(5)
    alarms = sum(judge(reference, window(world, draw, n), seed=i).drifted for i in range(40))
    assert alarms <= 4


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"brighter": 25.0}, "features"),
        ({"noise": 45.0}, "features"),
        ({"shares": [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]}, "classes"),
        ({"shares": [0.0, 0.2, 0.2, 0.2, 0.2, 0.2]}, "classes"),
    ],
)
def test_a_changed_world_raises_the_alarm(world, reference, change, kind):
    draw = np.random.default_rng(7)
    verdicts = [judge(reference, window(world, draw, **change), seed=i) for i in range(10)]
    assert sum(verdict.drifted for verdict in verdicts) >= 9
    told = [m for verdict in verdicts for m in verdict.measures if m.kind == kind]
    assert sum(measure.drifted for measure in told) >= 9


def test_less_sure_answers_raise_the_alarm_without_features(world):
    draw = np.random.default_rng(8)
    probabilities, _ = world.answers(world.pictures(500, draw)[0])
    made = reference_of(probabilities)
    seen = window(world, draw, noise=90.0)
    verdict = judge(made, Window(seen.classes, seen.scores))
    assert {measure.kind for measure in verdict.measures} == {"classes", "scores"}
    assert next(m for m in verdict.measures if m.kind == "scores").drifted


def test_many_classes_are_judged_as_soundly():
    draw = np.random.default_rng(3)
    shares = draw.dirichlet(np.ones(800))

    def counts(n, p):
        return draw.choice(800, n, p=p)

    def rows(classes):
        found = np.full((len(classes), 800), 0.5 / 799, np.float32)
        found[np.arange(len(classes)), classes] = 0.5
        return found

    made = reference_of(rows(counts(2000, shares)))

    def verdict(classes, seed):
        scores = np.full(len(classes), 0.5)
        return judge(made, Window(classes, scores), seed).drifted

    assert sum(verdict(counts(300, shares), i) for i in range(40)) <= 3
    moved = shares.copy()
    moved[:400] = 0
    moved /= moved.sum()
    assert sum(verdict(counts(300, moved), i) for i in range(10)) >= 9


def test_scores_that_are_all_sure_do_not_alarm_over_a_rounding():
    made = reference_of(np.tile(np.array([[1.0, 0.0]], np.float32), (400, 1)))
    almost = Window(np.zeros(300, np.int64), np.full(300, 0.9999999))
    assert not judge(made, almost).drifted


def test_a_reference_is_small_and_survives_json(world, reference):
    text = json.dumps(reference.model_dump())
    assert len(text) < 6000
    assert Reference.parse(json.loads(text)) == reference
    assert sum(reference.class_counts) == reference.n == 500
    assert reference.features.n == 256
    assert len(reference.features.means) == DIRECTIONS


def test_directions_never_change():
    assert directions(40).shape == (40, DIRECTIONS)
    assert np.sign(directions(40)[0, :8]).astype(int).tolist() == SIGNS


def test_divergence_by_hand():
    assert float(divergence(np.array([1.0, 1.0]), np.array([2.0, 2.0]))) == 0.0
    half = float(divergence(np.array([1.0, 0.0]), np.array([1.0, 1.0])))
    assert half == pytest.approx(0.3112781, abs=1e-6)


def seen(label="a", score=0.9, embedding=None, shadow=False):
    prediction = Prediction((label,), (score,))
    return Observation("r", "m", "1", "", prediction, None, 0.0, 0.0, 0.0, 1, embedding, shadow)


def test_monitors_say_what_they_know():
    rows = np.array([[0.9, 0.1], [0.2, 0.8]] * 100, np.float32)
    monitors = Monitors(lambda model, version: (reference_of(rows), ("a", "b")), window=50)
    assert monitors.report("m", "1")["state"] == "collecting"
    for index in range(50):
        monitors.observe(seen("ab"[index % 2], (0.9, 0.8)[index % 2]))
        monitors.observe(seen("b", shadow=True))
    monitors.close()
    report = monitors.report("m", "1")
    assert (report["state"], report["windows"], report["alarms"]) == ("watching", 1, 0)
    assert report["drifted"] is False
    assert not report["features"]
    names = {family.name for family in monitors.metrics()}
    assert names == {f"clearsight_drift_{n}" for n in ("distance", "p_value", "alarm")}


def test_a_bundle_without_a_reference_says_so():
    monitors = Monitors(lambda model, version: (None, ()), window=50)
    monitors.observe(seen())
    assert monitors.report("m", "1") == {"model": "m", "version": "1", "state": "no reference"}


def light(draw, index, shift=0):
    """Return a picture of one of three colours, a little lighter or darker each time."""
    colour = np.full(3, 40)
    colour[index % 3] = 180
    seen = np.clip(colour + draw.normal(0, 12, 3) + shift, 0, 255).astype(int)
    return picture("PNG", tuple(map(int, seen)), (16, 16))


def colours_reference(folder):
    """Return what the colour recognizer gives for 300 such pictures."""
    predictor = open_predictor(write_colour_bundle(folder, gain=0.02).path, "onnxruntime")
    draw = np.random.default_rng(0)
    images = np.stack([predictor.prepare(light(draw, index)) for index in range(300)])
    embeddings = images.mean(axis=(1, 2)).astype(np.float32)
    return reference_of(predictor.probabilities(images), embeddings)


def ask(url, path, body=None):
    request = urllib.request.Request(url + path, body)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def test_a_running_service_notices_that_pictures_changed(tmp_path):
    draw = np.random.default_rng(2)
    made = colours_reference(tmp_path / "plain")
    bundle = write_colour_bundle(tmp_path / "colours", gain=0.02, reference=made)

    def show(n, shift):
        for index in range(n):
            ask(url, "/v1/recognize", light(draw, index, shift))

    def drift(windows):
        for _ in range(100):
            report = json.loads(ask(url, "/v1/models/colours/drift"))
            if report.get("windows") == windows:
                return report
            time.sleep(0.1)
        raise AssertionError(report)

    with running_service([bundle.path], drift_window=60, drift_features=True) as service:
        url = service.url
        show(60, 0)
        calm = drift(1)
        assert calm["state"] == "watching"
        assert {m["kind"] for m in calm["latest"]["measures"]} == {"classes", "scores", "features"}
        assert not calm["drifted"], calm
        show(60, 60)
        assert drift(2)["drifted"]
        assert b'clearsight_drift_alarm{model="colours"' in ask(url, "/metrics")


def test_classes_beyond_the_reference_do_not_break_a_window():
    rows = np.eye(CLASSES, dtype=np.float32)[np.arange(120) % CLASSES]
    made = reference_of(rows)
    verdict = judge(made, Window(np.zeros(50, np.int64), np.ones(50)))
    assert verdict.drifted
    assert verdict.as_json()["measures"][0]["kind"] == "classes"
