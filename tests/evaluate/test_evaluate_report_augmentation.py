"""The report's section "What training saw"."""

import base64
import re

import pytest

from clearsight.evaluate.report import option, render_report
from clearsight.evaluate.score import evaluate

SEEN = {
    "changes": [
        {"name": "shift-flip", "options": {"shift": 2, "mirror": True}},
        {"name": "rotate", "options": {"degrees": 10.0, "quarter_turns": False}},
    ],
    "mix": {"name": "cutmix", "options": {"alpha": 1.0}},
    "reasons": [
        {"allowed": True, "reason": "7 of 10 classes look alike when mirrored"},
        {"allowed": False, "reason": "<b>'6'</b> and '9' turn into each other"},
    ],
    "rows": ["as they are", "the first time"],
    "sheet": "sheet-1.png",
}
PNG = b"\x89PNG not really"


@pytest.fixture
def rendered(make_data, make_picture, colour_predictor):
    """Return the page for facts beside the figures."""
    names = ("red", "green", "blue")
    data = make_data({name: [make_picture(i, 90)] * 3 for i, name in enumerate(names)})
    evaluation = evaluate(colour_predictor(names), data)
    return lambda **about: render_report(evaluation, about, data)


def section(html):
    return re.search(r'<section id="seen">.*?</section>', html, re.DOTALL)


def test_changes_mix_reasons_and_sheet_are_shown(rendered):
    html = rendered(story={"augmentation": SEEN}, sheet=PNG)
    seen = section(html).group()
    text = re.sub(r"<[^>]+>", "", seen)
    assert "Shift flip" in text
    assert "shift 2 · mirror yes" in text
    assert "degrees 10 · quarter turns no" in text
    assert text.index("Shift flip") < text.index("Rotate") < text.index("Cutmix")
    assert "7 of 10 classes look alike when mirrored;" in text
    assert "turn into each other (not done unless asked for)" in text
    assert "<b>'6'" not in seen
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in seen
    assert '<a href="#seen">' in html


def test_a_lost_sheet_leaves_the_words(rendered):
    seen = section(rendered(story={"augmentation": SEEN}, sheet=None)).group()
    assert "<img" not in seen
    assert "Rotate" in seen


@pytest.mark.parametrize("story", [{}, {"augmentation": None}])
def test_no_section_without_changes(rendered, story):
    html = rendered(story=story, sheet=None)
    assert section(html) is None
    assert "#seen" not in html


def test_options_are_read_by_people():
    assert [option(value) for value in (1 / 3, 2, True, False, "noise")] == [
        "0.333",
        "2",
        "yes",
        "no",
        "noise",
    ]
