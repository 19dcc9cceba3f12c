"""Uneven classes in the card and the report."""

import re

import numpy as np
import pytest

from clearsight.evaluate.card import model_card, remedy_text
from clearsight.evaluate.figures import judge
from clearsight.evaluate.report import render_report
from clearsight.evaluate.score import evaluate

CLASSES = ("red", "green", "<b>blue")
TOLD = {
    "ratio": 101.0,
    "effective_classes": 1.2,
    "classes": 3,
    "n": 60,
    "loss": "logit-adjusted",
    "sampler": None,
    "strength": 0.25,
    "without": "the same scores, weighted by the training shares",
    "even_classes": True,
    "rarest": {"classes": {"<b>blue": 7}, "val": 4, "recall": {"before": 0.25, "after": 0.75}},
    "balanced_accuracy": {"before": 0.5, "after": 0.6},
    "accuracy": {"before": 0.9, "after": 0.8},
}


def card(**story):
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 60).astype(np.float32)
    metrics = judge(rows, np.arange(60) % 3, CLASSES)
    facts = {"classes": CLASSES, "family": "compact", "temperature": 1.25, "metrics": metrics}
    return model_card({**facts, "story": story})


@pytest.fixture
def page(make_data, make_picture, colour_predictor):
    data = make_data({f"c{i}": [make_picture(i, 90)] * 3 for i in range(3)})
    object.__setattr__(data, "classes", CLASSES)
    evaluation = evaluate(colour_predictor(CLASSES), data)
    return lambda **story: render_report(evaluation, {"story": story}, data)


def test_card_tells_the_remedy_its_gain_and_what_scores_mean():
    text = card(imbalance=TOLD)
    assert "101 times" in text
    assert "without it (the same scores, weighted by the training shares)" in text
    assert "| recall, mean of the rarest classes | 0.250 | 0.750 | 4 |" in text
    assert "| accuracy | 0.900 | 0.800 | 60 |" in text
    assert "\\<b\\>blue (7)" in text
    assert "equally likely" in text


def test_card_without_it_says_nothing_of_it():
    assert "Uneven" not in card()
    assert "equally likely" not in card(imbalance={**TOLD, "even_classes": False})


def test_card_names_classes_that_could_not_be_learnt():
    assert "no training picture could be read: moth" in card(unlearnt=["moth"])
    assert "Not learnt" not in card()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "the loss logit-adjusted; 25 % of the training shares taken out of the scores"),
        ({"loss": None, "strength": -0.1}, "10 % of the training shares put into the scores"),
        ({"loss": None, "strength": 0.0}, "none, as validation agreed with none"),
        ({"loss": None, "sampler": "balanced", "strength": 0.0}, "the sampler balanced"),
    ],
)
def test_remedy_in_words(changes, wanted):
    assert remedy_text({**TOLD, **changes}) == wanted


def test_report_has_the_section(page):
    html = page(imbalance=TOLD)
    section = re.search(r'<section id="imbalance">.*?</section>', html, re.DOTALL).group()
    text = " ".join(re.sub(r"<[^>]+>", " ", section).split())
    assert "Recall, mean of the rarest classes 25.0 % 75.0 % 4" in text
    assert "&lt;b&gt;blue 7 100 %" in text  # as the tiny recognizer does here
    assert "equally likely" in text
    assert '<a href="#imbalance">' in html


def test_report_without_it_has_no_section(page):
    assert "imbalance" not in page()
