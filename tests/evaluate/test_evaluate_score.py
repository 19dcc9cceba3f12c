import json

import numpy as np
import pytest

from clearsight.core.errors import DataError
from clearsight.evaluate.score import MISTAKES, evaluate

NAMES = ("ant", "bee", "猫 🐈")


class Collected:
    def __init__(self):
        self.total, self.done, self.said, self.ended = 0.0, 0.0, [], 0

    def start(self, task, total, unit):
        self.total = total

    def advance(self, amount, note=""):
        self.done += amount

    def finish(self):
        self.ended += 1

    def say(self, event, **fields):
        self.said.append((event, fields))


@pytest.fixture
def three_classes(make_data, make_picture):
    """ant: 3 of 4 right, bee: 2 of 2 right, cat: 1 of 2 right."""
    return make_data(
        {
            "ant": [make_picture(0, c) for c in (90, 80, 70)] + [make_picture(1, 95)],
            "bee": [make_picture(1, 60), make_picture(1, 99)],
            "猫 🐈": [make_picture(2, 50), make_picture(0, 85)],
        }
    )


def test_counts_and_figures_are_what_a_hand_counts(three_classes, colour_predictor):
    found = evaluate(colour_predictor(NAMES), three_classes).to_json()
    assert (found["n"], found["found"], found["used"]) == (8, 8, 8)
    assert found["accuracy"] == 6 / 8
    low, high = found["accuracy_ci"]
    assert (round(low, 4), round(high, 4)) == (0.4093, 0.9285)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 + 1 / 2) / 3)
    assert found["worst_class_recall"] == 0.5
    assert found["confusion_matrix"] == [[3, 1, 0], [0, 2, 0], [1, 0, 1]]
    bee = found["per_class"]["bee"]
    assert (bee["precision"], bee["recall"], bee["n"]) == (2 / 3, 1.0, 2)
    assert bee["f1"] == pytest.approx(0.8)
    assert found["confusions"][0] == {"truth": "ant", "predicted": "bee", "n": 1, "of": 4}


def test_json_has_the_fields_of_the_design(three_classes, colour_predictor):
    found = evaluate(colour_predictor(NAMES), three_classes, temperature=2.0).to_json()
    wanted = {"n", "accuracy", "accuracy_ci", "balanced_accuracy", "macro_f1"}
    wanted |= {"worst_class_recall", "log_loss", "ece", "per_class", "conformal"}
    assert wanted <= set(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_classes_are_matched_by_name_not_by_index(three_classes, colour_predictor):
    renumbered = colour_predictor(("zebra", "猫 🐈", "bee", "ant"))
    found = evaluate(renumbered, three_classes)
    # Red 0 now answers zebra, 10 the cat, 20 the bee: nothing fits its folder any more.
    assert found.accuracy == 0.0
    assert found.figures.per_class["zebra"].n == 0
    assert found.figures.per_class["zebra"].recall is None
    assert found.figures.per_class["zebra"].predicted == 4


def test_unknown_classes_are_named_with_the_nearest(three_classes, colour_predictor):
    with pytest.raises(DataError) as caught:
        evaluate(colour_predictor(("Ant", "bee")), three_classes)
    message = str(caught.value)
    assert "2 of 3 classes" in message
    assert "'ant' (nearest: 'Ant')" in message
    assert "'猫 🐈'" in message


def test_undecodable_pictures_are_quarantined_by_name(make_data, make_picture, colour_predictor):
    data = make_data(
        {
            "ant": [make_picture(0, 90), make_picture(0, 90, blue=7)],
            "bee": [make_picture(1, 90), b"no picture at all"],
        }
    )
    progress = Collected()
    found = evaluate(colour_predictor(("ant", "bee"), refuse=(7,)), data, progress)
    assert found.n == 2
    assert found.found == data.found == 4
    assert {item.name: item.reason for item in found.quarantined} == {
        "ant/0001.png": "undecodable",
        "bee/0001.png": "format",
    }
    assert progress.done == progress.total == 3
    assert progress.ended == 1
    assert any(fields.get("path") == "ant/0001.png" for _, fields in progress.said)


def test_nothing_left_to_score_is_an_error(make_data, make_picture, colour_predictor):
    data = make_data({"ant": [make_picture(0, 90)], "bee": [make_picture(1, 90)]})
    with pytest.raises(DataError, match="2 quarantined"):
        evaluate(colour_predictor(("ant", "bee"), refuse=(0,)), data)


def test_mistakes_are_the_most_confident_ones_first(make_data, make_picture, colour_predictor):
    wrong = [make_picture(1, 51 + i) for i in range(MISTAKES + 5)]
    data = make_data({"ant": [*wrong, make_picture(0, 99)], "bee": [make_picture(1, 70)]})
    found = evaluate(colour_predictor(("ant", "bee")), data)
    scores = [case.score for case in found.mistakes]
    assert len(scores) == MISTAKES
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx((50 + len(wrong)) / 100)
    first = found.mistakes[0]
    assert (first.truth, first.predicted) == ("ant", "bee")
    assert first.truth_score == pytest.approx(1 - first.score, abs=1e-6)
    assert data.samples[first.index].name == first.name
    assert {case.truth for case in found.successes} == {"ant", "bee"}


def test_many_batches_keep_pictures_and_labels_together(make_data, make_picture, colour_predictor):
    generator = np.random.default_rng(0)
    answers = generator.integers(0, 2, (2, 300))
    data = make_data(
        {
            name: [make_picture(int(a), 60 + i % 40) for i, a in enumerate(row)]
            for name, row in zip(("ant", "bee"), answers, strict=True)
        }
    )
    predictor = colour_predictor(("ant", "bee"))
    found = evaluate(predictor, data)
    assert len(predictor.batches) > 1
    assert sum(predictor.batches) == 600
    expected = [[int((row == c).sum()) for c in (0, 1)] for row in answers]
    assert found.figures.confusion.tolist() == expected


def test_reliability_bins_before_and_after(three_classes, colour_predictor):
    found = evaluate(colour_predictor(NAMES), three_classes, temperature=3.0)
    assert sum(part.n for part in found.reliability) == 8
    assert sum(part.n for part in found.reliability_before) == 8
    before = sum(part.confidence * part.n for part in found.reliability_before)
    assert before > sum(part.confidence * part.n for part in found.reliability)
    assert evaluate(colour_predictor(NAMES), three_classes).reliability_before == ()


def test_a_recognizer_that_yields_nan_is_an_error(three_classes, colour_predictor):
    class Broken(colour_predictor):
        def probabilities(self, images_nhwc):
            return super().probabilities(images_nhwc) * np.float32("nan")

    with pytest.raises(DataError, match="no probabilities"):
        evaluate(Broken(NAMES), three_classes)


def test_an_error_in_the_engine_ends_the_run_and_the_threads(three_classes, colour_predictor):
    class Failing(colour_predictor):
        def probabilities(self, images_nhwc):
            raise RuntimeError("engine")

    progress = Collected()
    with pytest.raises(RuntimeError, match="engine"):
        evaluate(Failing(NAMES), three_classes, progress)
    assert progress.ended == 1
