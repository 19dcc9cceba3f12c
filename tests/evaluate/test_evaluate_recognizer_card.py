"""The recognizer card: every section from its own findings, names that stay names."""

import re
from dataclasses import fields
from html.parser import HTMLParser

import numpy as np
import pytest
from test_evaluate_card import facts

from clearsight.core.proportions import wilson
from clearsight.evaluate.card import model_card
from clearsight.evaluate.figures import judge
from clearsight.evaluate.markdown import plain_text, to_html
from clearsight.evaluate.recognizer_card import Findings, recognizer_card, render_page
from clearsight.robust.attacked import Sign
from clearsight.robust.robustness import (
    AttackFindings,
    ClassFailure,
    Mean,
    Rate,
    Robustness,
)

HOSTILE = "<img src=x onerror=alert(1)> | `a` [b](javascript:c) \\ *d*\n## e"


def evaluated(classes=("ant", "bee", "猫")):
    generator = np.random.default_rng(1)
    rows = generator.dirichlet(np.ones(len(classes)), 80).astype(np.float32)
    labels = generator.integers(0, len(classes), 80)
    part = {"value": 0.9, "ci": [0.8, 0.95], "n": 80}
    sets = {"coverage": 0.91, "coverage_ci": [0.83, 0.95], "mean_size": 1.5, "n": 80}
    sets |= {"worst_class": classes[0], "worst_class_coverage": 0.7}
    sets |= {"worst_class_coverage_ci": [0.5, 0.8]}
    rejection = {"threshold": 0.1, "n": 80, "accepted": part, "accuracy_accepted": part}
    rejection |= {"accuracy_rejected": {"value": None, "ci": [0.0, 1.0], "n": 0}}
    cut = {"column": "camera", "value": "old", "worse": True, "accuracy": 0.5, "n": 20}
    return judge(rows, labels, classes) | {
        "part": "test",
        "conformal": {"90": sets},
        "rejection": rejection,
        "slices": [cut | {"accuracy_ci": [0.3, 0.7], "rest": 0.9}],
    }


def explained(good=3, passed=True):
    rows = [{"faithful": number < good} for number in range(4)] + [{"path": "x", "error": "y"}]
    check = {"similarity": 0.12, "n": 8, "passed": passed}
    return {"method": "grad-cam", "explanations": rows, "weights_check": check}


def stressed(name="bee", **more):
    rates = {
        "fog": {1: Rate(80, 100), 3: Rate(50, 100), 5: Rate(20, 100)},
        "jpeg-compression": {1: Rate(89, 100), 3: Rate(88, 100), 5: Rate(87, 100)},
    }
    attacks = {"pgd": Rate(4, 20), "ensemble": Rate(2, 20)}
    facts = {
        "classes": ("ant", name, "猫"),
        "n": 100,
        "clean": Rate(90, 100),
        "corruptions": rates,
        "deformations": {"rotation": {1: Rate(70, 100), 3: Rate(60, 100), 5: Rate(10, 100)}},
        "mce": Mean(0.31, 0.27, 0.35, 100),
        "relative_mce": Mean(0.21, 0.17, 0.25, 100),
        "mce_kinds": 2,
        "attacks": AttackFindings(attacks, Rate(18, 20), 8 / 255, "", ()),
        "failures": (
            ClassFailure(name, 30, 28, 3, {"fog": 3, "rotation": 5}, True),
            ClassFailure("ant", 40, 38, None, {}, True),
        ),
        "examples": (),
        "left_out": {},
    }
    every = dict.fromkeys(field.name for field in fields(Robustness))
    return Robustness(**(every | facts | more)).to_json() | {"about": {"part": "test"}}


def section(card, title):
    parts = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    found = [part for part in parts if part.startswith(f"## {title}\n")]
    assert len(found) == 1, title
    return found[0]


def test_the_five_questions_stand_in_their_order():
    card = recognizer_card(model_card(facts()), Findings())
    titles = re.findall(r"^## (.*)$", card, flags=re.MULTILINE)
    five = ["How good it is", "Where it fails", "What it looks at", "What breaks it", "Limits"]
    assert [title for title in titles if title in five] == five
    assert titles[:2] == ["Intended use", "What it was trained on"]
    assert "clearsight explain" in section(card, "What it looks at")
    assert "clearsight stress" in section(card, "What breaks it")


def test_measured_figures_take_the_place_of_validation():
    told = evaluated()
    card = recognizer_card(
        model_card(facts()), Findings(evaluated=told, links={"evaluated": "report.html"})
    )
    good, sure = section(card, "How good it is"), section(card, "How sure it is")
    assert "80 pictures of the test part" in good
    assert "flatter" not in good
    assert f"| accuracy | {told['accuracy']:.4f} |" in good
    assert "90 % sets hold the true class for 0.9100 (95 % interval 0.8300 to 0.9500)" in sure
    assert "worst covered is ant with 0.7000" in sure
    assert "0.9000 (95 % interval 0.8000 to 0.9500) are right, of the others none" in sure
    assert f"off by {told['ece']:.4f} on average" in sure
    assert "camera old, 0.5000 (95 % interval 0.3000 to 0.7000) of 20 pictures" in sure
    assert "[report.html](report.html)" in sure


def test_what_it_looks_at():
    rows = [
        {"label": "a_b", "n": 5, "border_share": 0.8, "border_area": 0.3, "suspicious": True},
        {"label": "ok", "n": 5, "border_share": 0.2, "border_area": 0.3, "suspicious": False},
    ]
    links = {"explained": "explain/sheet.html"}
    found = Findings(explained=explained(), class_maps={"class_maps": rows}, links=links)
    looks = section(recognizer_card(model_card(facts()), found), "What it looks at")
    low, high = wilson(3, 4)
    assert f"on 3 of 4 pictures (95 % interval {low:.4f} to {high:.4f})" in looks
    assert "alike to 0.12 of 1 (n = 8), so the maps come from what was learnt" in looks
    assert "In 1 of 2 classes" in looks
    assert "a\\_b (80% of the evidence in 30% of the area, n = 5)" in looks
    assert "[explain/sheet.html](explain/sheet.html)" in looks
    failed = Findings(explained=explained(0, passed=False), class_maps={"class_maps": rows[1:]})
    looks = section(recognizer_card(model_card(facts()), failed), "What it looks at")
    assert "none counts as faithful" in looks
    assert "In none of 1 classes" in looks


def test_what_breaks_it():
    card = recognizer_card(model_card(facts()), Findings(stressed=stressed()))
    breaks = section(card, "What breaks it")
    assert "On 100 pictures of test, 0.9000 (95 % interval 0.8256 to 0.9448)" in breaks
    rows = [line for line in breaks.splitlines() if line.startswith("| ")]
    assert rows[0] == "| changed by | right at severity 1 | right at severity 3 | " + (
        "right at severity 5 |"
    )
    assert [row.split(" | ")[0] for row in rows[1:]] == [
        "| rotation",
        "| fog",
        "| jpeg compression",
    ]
    assert "0.200 (0.133 to 0.289)" in rows[2]
    assert "over 2 published kinds: 0.3100 (95 % interval 0.2700 to 0.3500)" in breaks
    assert "1 of 2 classes fall below half" in breaks
    assert "first is bee, at severity 3 (fog; n = 30)" in breaks
    assert "more than 8 of 255 leave 0.1000 (95 % interval 0.0279 to 0.3010) of 20" in breaks
    assert "all attacks together" in breaks
    assert "were not tested" not in section(card, "Limits")
    assert "were not tested" in model_card(facts())


def test_what_stress_did_not_measure_is_not_told():
    masked = AttackFindings({"pgd": Rate(4, 20)}, Rate(18, 20), 0.1, "", (Sign("x", 1, 2, "y"),))
    more = {"deformations": {}, "corruptions": {}, "mce": None, "relative_mce": None}
    card = recognizer_card(
        model_card(facts()), Findings(stressed=stressed(attacks=masked, failures=(), **more))
    )
    breaks = section(card, "What breaks it")
    assert "|" not in breaks
    assert "Mean corruption error" not in breaks
    assert "hide weakness" in breaks
    blind = AttackFindings({"square": Rate(9, 20)}, Rate(18, 20), 0.1, "no gradients", ())
    card = recognizer_card(model_card(facts()), Findings(stressed=stressed(attacks=blind)))
    assert "Only black-box attacks" in card
    none = recognizer_card(model_card(facts()), Findings(stressed=stressed(attacks=None)))
    assert "Attacks that" not in none


def test_variants_and_cards_of_imports_keep_their_own_sections():
    base = "# An imported recognizer\n\nClasses: a.\n\n## What is known\n\n- x\n\n## Limits\n\n- y"
    card = recognizer_card(base + "\n\n## Variants\n\nA table.\n", Findings(evaluated=evaluated()))
    titles = re.findall(r"^## (.*)$", card, flags=re.MULTILINE)
    assert titles[0] == "What is known"
    assert titles[-2:] == ["Variants", "Limits"]
    assert "A table." in card


@pytest.mark.parametrize("place", ["base", "evaluated", "stressed", "class_maps"])
def test_hostile_names_stay_names(place):
    name = HOSTILE
    maps = {"label": name, "n": 5, "border_share": 0.8, "border_area": 0.3, "suspicious": True}
    found = {
        "base": Findings(),
        "evaluated": Findings(evaluated=evaluated((name, "b", "c"))),
        "stressed": Findings(stressed=stressed(name)),
        "class_maps": Findings(class_maps={"class_maps": [maps]}),
    }[place]
    base = model_card(facts((name, "bee", "猫") if place == "base" else ("ant", "bee", "猫")))
    card = recognizer_card(base, found)
    assert "\n## e" not in card
    page = render_page(card)
    tags = set(re.findall(r"<([a-z0-9]+)", page.partition("<main")[2].partition("</main>")[0]))
    assert tags <= {"section", "h2", "p", "ul", "li", "code", "div", "table", "thead", "tbody",
                    "tr", "th", "td", "a"}  # fmt: skip
    assert "javascript:" not in "".join(re.findall(r'href="[^"]*"', page))
    assert name.replace("\n", " ") in seen(page), "shown letter by letter"


class _Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text = ""

    def handle_data(self, data):
        self.text += data


def seen(page):
    parser = _Text()
    parser.feed(page)
    return parser.text


def test_markdown_that_interpreted_names_would_be_caught():
    assert "<img" not in to_html(f"- {plain_text(HOSTILE)}")
    assert "<a " in to_html("[b](c.html)")
    assert "<a " not in to_html(f"- {plain_text('[b](c.html)')}")
    assert to_html("| a | b |\n|---|---|\n| x\\|y | `z` |").count("<td>") == 1
