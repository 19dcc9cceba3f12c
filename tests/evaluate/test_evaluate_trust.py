"""What an evaluation says of sets, of not answering, and of parts of the data."""

import json

import numpy as np
import pytest

from clearsight.core.conformal import fit_conformal
from clearsight.core.rejection import Rejection
from clearsight.data.dataset import read_dataset
from clearsight.engines.open import open_predictor
from clearsight.evaluate.figures import figures
from clearsight.evaluate.metrics.class_wise_ece import class_wise_ece
from clearsight.evaluate.metrics.ece import ece
from clearsight.evaluate.metrics.ece_equal_mass import ece_equal_mass
from clearsight.evaluate.report import render_report
from clearsight.evaluate.score import evaluate
from clearsight.evaluate.scored import Scored
from clearsight.evaluate.selective import selective
from clearsight.evaluate.set_figures import set_figures
from clearsight.evaluate.slices import slices
from clearsight.testing.metric_contract import drawn
from clearsight.testing.tiny_bundle import write_colour_bundle

CLASSES = tuple("abcdef")


def test_sets_are_counted_as_they_are():
    train, test = drawn(1000, 6, 1), drawn(3000, 6, 2)
    conformal = fit_conformal(train.probabilities, train.labels, "lac", CLASSES)
    found = set_figures(conformal, test, CLASSES)
    assert [item.level for item in found] == [90, 95]
    assert [item.carried for item in found] == [False, True]
    for item in found:
        sets = test.probabilities >= 1 - conformal.thresholds[str(item.level)][0]
        inside = sets[np.arange(test.n), test.labels]
        assert item.coverage == pytest.approx(inside.mean(), abs=1e-3)
        assert item.mean_size == pytest.approx(sets.sum(axis=1).mean(), abs=1e-2)
        assert item.low < item.coverage < item.high
        assert sum(item.sizes) == item.n == 3000
        assert item.classes[0].coverage == min(one.coverage for one in item.classes)
        told = item.to_json()
        assert {"coverage", "mean_size", "coverage_ci", "n"} <= set(told)
        json.dumps(told, allow_nan=False)


def test_a_class_without_pictures_is_in_no_coverage():
    train = drawn(1000, 6, 1)
    conformal = fit_conformal(train.probabilities, train.labels, "lac", CLASSES)
    one = Scored(train.probabilities[:1], train.labels[:1])
    (low, high) = set_figures(conformal, one, CLASSES)
    assert len(low.classes) == len(high.classes) == 1


def test_risk_and_coverage_by_hand():
    familiarity = np.array([0.9, 0.8, 0.7, 0.6])
    correct = np.array([True, False, True, False])
    rejection = Rejection(method="max-softmax", threshold=0.75, keeps=0.5, n=100)
    found = selective(familiarity, correct, rejection)
    assert [(point.coverage, point.risk) for point in found.curve] == [
        (0.25, 0.0),
        (0.5, 0.5),
        (0.75, pytest.approx(1 / 3)),
        (1.0, 0.5),
    ]
    assert found.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found.best_aurc == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert (found.accepted.value, found.right_accepted.value) == (0.5, 0.5)
    assert found.right_rejected.n == 2


def test_equal_familiarity_is_no_order():
    correct = np.array([True] * 50 + [False] * 50)
    one = selective(np.ones(100), correct, None)
    other = selective(np.ones(100), correct[::-1], None)
    assert one.aurc == other.aurc == pytest.approx(0.5)
    assert {round(point.risk, 9) for point in one.curve} == {0.5}
    assert one.threshold is None
    assert one.accepted.value == 1.0
    assert one.right_rejected.value is None


def test_a_better_order_has_less_area():
    generator = np.random.default_rng(1)
    correct = generator.random(500) < 0.8
    good = selective(correct + generator.normal(0, 0.3, 500), correct, None)
    bad = selective(generator.normal(size=500), correct, None)
    assert good.best_aurc <= good.aurc < bad.aurc - 0.05


def dark_are_wrong(n=600):
    generator = np.random.default_rng(2)
    brightness = generator.uniform(0, 255, n)
    camera = np.where(generator.random(n) < 0.3, "old", "new")
    correct = generator.random(n) < np.where(brightness < 85, 0.6, 0.95)
    return brightness, camera, correct


def test_the_worst_part_is_named():
    brightness, camera, correct = dark_are_wrong()
    found = slices({"brightness": brightness}, {"camera": list(camera)}, correct)
    assert found[0].column == "brightness"
    assert found[0].worse
    assert found[0].value.startswith(f"{brightness.min():.4g} to")
    assert [item.worse for item in found if item.column == "camera"] == [False, False]
    assert sum(item.n for item in found if item.column == "brightness") == 600
    for item in found:
        assert item.low <= item.accuracy <= item.high


def test_no_part_is_worse_by_chance_alone():
    """Negative control: with 30 columns of noise an uncorrected test names one nearly always."""
    alarms = uncorrected = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        correct = generator.random(400) < 0.85
        numbers = {f"noise {i}": generator.normal(size=400) for i in range(30)}
        found = slices(numbers, {}, correct)
        alarms += any(item.worse for item in found)
        alone = [slices({name: values}, {}, correct) for name, values in numbers.items()]
        uncorrected += any(item.worse for items in alone for item in items)
    assert alarms <= 3
    assert uncorrected >= 8


def test_columns_that_say_nothing_are_no_parts():
    correct = np.random.default_rng(0).random(300) < 0.9
    numbers = {"constant": np.ones(300), "unknown": np.full(300, np.nan)}
    texts = {
        "one value": ["x"] * 300,
        "a name each": [f"picture {i}" for i in range(300)],
        "rare": ["a"] * 295 + ["b"] * 5,
        "numbers": [str(i / 7) for i in range(300)],
        "gaps": [None if i % 2 else "ab"[i % 4 // 2] for i in range(300)],
    }
    found = {item.column for item in slices(numbers, texts, correct)}
    assert found == {"numbers", "gaps"}


@pytest.mark.parametrize("seed", range(3))
def test_calibration_errors_are_what_scikit_learn_gives(seed):
    calibration = pytest.importorskip("sklearn.calibration")
    scored = drawn(1500, 4, seed)
    for metric, strategy in ((ece, "uniform"), (ece_equal_mass, "quantile")):
        ends = np.linspace(0, 1, 16)
        if strategy == "quantile":
            ends = np.quantile(scored.confidence, ends, method="inverted_cdf")
        place = np.clip(np.searchsorted(ends, scored.confidence, side="left") - 1, 0, 14)
        share = np.bincount(place, minlength=15) / scored.n
        right = [scored.correct[place == i].mean() if share[i] else 0 for i in range(15)]
        sure = [scored.confidence[place == i].mean() if share[i] else 0 for i in range(15)]
        wanted = float(share @ np.abs(np.array(right) - sure))
        assert metric(scored) == pytest.approx(wanted, abs=2e-3)
    errors = []
    for column in range(4):
        truth, told = scored.labels == column, scored.probabilities[:, column].astype(np.float64)
        right, sure = calibration.calibration_curve(truth, told, n_bins=15)
        counts = np.bincount(np.clip(np.searchsorted(np.linspace(0, 1, 16)[1:-1], told), 0, 14))
        errors.append(np.abs(right - sure) @ counts[counts > 0] / scored.n)
    assert class_wise_ece(scored) == pytest.approx(np.mean(errors), abs=2e-3)


def test_every_calibration_figure_has_an_interval():
    told = figures(drawn(400, 5, 1), tuple("abcde")).to_json()
    for key in ("ece", "ece_equal_mass", "class_wise_ece", "brier"):
        low, high = told["intervals"][key]
        assert low <= told[key] <= high
        assert high > low


@pytest.fixture
def colours(tmp_path, make_picture):
    """Write coloured pictures with a manifest that knows the camera, and a Bundle with sets."""
    import io

    from PIL import Image

    generator = np.random.default_rng(4)
    lines = ["path,label,camera,part"]
    (tmp_path / "photos").mkdir()
    for number in range(240):
        colour = number % 3
        pixels = np.full((8 + number % 9, 9, 3), 60, np.uint8)
        pixels[..., colour] = 90 + generator.integers(0, 120)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        (tmp_path / "photos" / f"{number}.png").write_bytes(stream.getvalue())
        camera = "old" if number % 4 == 0 else "new"
        wrong = camera == "old" and number % 8 == 0
        label = ("red", "green", "blue")[(colour + wrong) % 3]
        lines.append(f"{number}.png,{label},{camera},test")
    (tmp_path / "photos" / "list.csv").write_text("\n".join(lines) + "\n")
    return read_dataset(tmp_path / "photos" / "list.csv")


def trusted(tmp_path, **about):
    bundle = write_colour_bundle(tmp_path / "bundle", gain=0.05, **about)
    return open_predictor(bundle, "onnxruntime")


def test_a_bundle_is_evaluated_with_all_it_carries(tmp_path, colours):
    conformal = {
        "method": "class-conditional",
        "thresholds": {"90": [0.6] * 3, "95": [0.9] * 3},
        "level": 90,
        "n": 200,
    }
    rejection = {"method": "energy", "threshold": 7.0, "keeps": 0.9, "n": 200}
    predictor = trusted(tmp_path, conformal=conformal, rejection=rejection)
    found = evaluate(predictor, colours, temperature=1.0)
    told = found.to_json()
    json.dumps(told, allow_nan=False)
    assert set(told["conformal"]) == {"90", "95"}
    assert {"coverage", "mean_size"} <= set(told["conformal"]["90"])
    assert told["rejection"]["method"] == "energy"
    assert 0 < told["rejection"]["accepted"]["value"] < 1
    worst = told["slices"][0]
    assert (worst["column"], worst["value"], worst["worse"]) == ("camera", "old", True)
    columns = {item["column"] for item in told["slices"]}
    assert {"camera", "brightness", "contrast", "size in pixels"} <= columns
    page = render_report(found, {"vector": None, "part": "test"}, colours)
    for words in ("Sets instead of one answer", "When it had better not answer", "camera"):
        assert words in page
    assert "marks as not accepted" in page


def test_a_bundle_without_any_of_it_says_so(tmp_path, colours):
    found = evaluate(trusted(tmp_path), colours)
    told = found.to_json()
    assert told["conformal"] == {}
    assert told["rejection"]["threshold"] is None
    page = render_report(found, {}, colours)
    assert "Sets instead of one answer" not in page
    assert "accepts every picture" in page


def test_scores_before_vector_scaling_are_the_models_own(tmp_path, colours):
    vector = {"weights": [0.5, 1.0, 2.0], "biases": [0.0, 1.0, 0.0]}
    plain = evaluate(trusted(tmp_path / "a"), colours, temperature=1.0)
    scaled = evaluate(trusted(tmp_path / "b", vector=vector), colours, temperature=1.0)
    assert scaled.reliability_before == plain.reliability
    assert scaled.reliability != plain.reliability
