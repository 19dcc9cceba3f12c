"""The report tells what hardening brought, at what price, and how to do it again."""

import re

import pytest

from clearsight.evaluate.card import hardening_options
from clearsight.evaluate.report import render_report
from clearsight.evaluate.score import evaluate

CLASSES = ("red", "green")
TOLD = {
    "name": "pgd",
    "options": {"eps": 0.1, "steps": 3, "kind": "<b>"},
    "by": "attack",
    "n": 500,
    "accuracy": 0.78,
    "accuracy_ci": [0.742, 0.814],
    "price": {
        "n": 6000,
        "standard_accuracy": 0.936,
        "accuracy": 0.871,
        "points": 6.5,
        "points_ci": [5.8, 7.2],
        "standard_seconds": 90.0,
    },
}


@pytest.fixture
def page(make_data, make_picture, colour_predictor):
    data = make_data({f"c{i}": [make_picture(i, 90)] * 3 for i in range(2)})
    object.__setattr__(data, "classes", CLASSES)
    evaluation = evaluate(colour_predictor(CLASSES), data)
    return lambda **about: render_report(evaluation, about, data)


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.split("</style>")[1]))


def test_figures_stand_with_their_counts_and_intervals(page):
    html = page(story={"hardened": TOLD})
    text = text_of(html)
    assert 'href="#hardened"' in html
    assert "Under attack 78.0 % 74.2 % to 81.4 % 500" in text
    assert "without hardening for 1 min 30 s 93.6 % 6000" in text
    assert "6.50 points of accuracy" in text
    assert "5.80 to 7.20, paired on the same 6000 pictures" in text
    assert "eps 0.1, steps 3, kind &lt;b&gt;" in html


@pytest.mark.parametrize("price", [None, {**TOLD["price"], "n": 1, "points_ci": None}])
def test_a_price_that_is_not_known_is_said(page, price):
    told = {**TOLD, "accuracy": None, "accuracy_ci": None, "price": price}
    if price is None:
        del told["price"]
    text = text_of(page(story={"hardened": told}))
    assert "could not be measured" in text
    assert "Under attack" not in text


def test_without_hardening_nothing_is_told(page):
    html = page(story={"reason": "small"})
    assert "hardened" not in html.split("</style>")[1]


def test_the_command_that_leads_here_hardens_too(page):
    harden = {"name": "fast", "options": {"eps": 0.1}}
    config = {"time_s": 90.0, "model": "compact", "harden": harden}
    html = page(run="runs/1", config=config)
    assert "--harden fast --set harden.options.eps=0.1" in html
    assert "--harden" not in page(run="runs/1", config={**config, "harden": None})


def test_options_of_any_kind_are_read():
    assert hardening_options({"options": {"eps": 8 / 255}}) == "eps 0.0314"
    assert hardening_options({"options": {}}) == ""
