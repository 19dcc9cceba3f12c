import numpy as np

from clearsight.evaluate.card import model_card
from clearsight.evaluate.figures import judge


def facts(classes=("ant", "bee", "猫"), **more):
    generator = np.random.default_rng(0)
    rows = generator.dirichlet(np.ones(len(classes)), 60).astype(np.float32)
    labels = generator.integers(0, min(3, len(classes)), 60)
    return {
        "classes": classes,
        "family": "compact",
        "temperature": 1.25,
        "seed": 3,
        "created_utc": "2026-11-23T06:40:00+00:00",
        "preprocessing": {"height": 28, "width": 28, "channels": 1, "fit": "stretch"},
        "data_fingerprint": "ab12",
        "weight_licences": [],
        "metrics": {"part": "val", **judge(rows, labels, classes)},
        "counts": {"train": 480, "val": 60, "quarantined": 2},
        "story": {"reason": "asked for", "training": "90 s"},
        **more,
    }


def test_tells_what_how_good_and_where_it_fails():
    values = facts()
    card = model_card(values)
    for section in ("Intended use", "What it was trained on", "How good it is", "Where it fails"):
        assert f"## {section}" in card
    assert "480 train, 60 val, 2 quarantined" in card
    assert f"| accuracy | {values['metrics']['accuracy']:.4f} |" in card
    worst = min(values["metrics"]["per_class"].items(), key=lambda pair: pair[1]["recall"])
    assert card.index(f"- {worst[0]}: recall {worst[1]['recall']:.3f}") > card.index("Weakest")
    first = values["metrics"]["confusions"][0]
    assert f"{first['truth']} taken for {first['predicted']}: {first['n']} of {first['of']}" in card


def test_says_that_validation_figures_flatter():
    assert "flatter" in model_card(facts())
    values = facts()
    values["metrics"]["part"] = "test"
    assert "flatter" not in model_card(values)


def test_names_cannot_become_markup_or_lines():
    card = model_card(facts(("# <script>\n## fake", "a|b_c*d", "👩‍🌾 \u202eevil\udcff")))
    assert "<script>" not in card.replace("\\<", "")
    assert "\n## fake" not in card
    assert "a\\|b\\_c\\*d" in card
    assert "👩‍🌾" in card
    assert "\u202e" not in card
    card.encode("utf-8")


def test_classes_without_a_held_out_picture_are_named():
    assert "no picture was held out: dog, eel." in model_card(facts(("a", "b", "c", "dog", "eel")))


def test_a_thousand_classes_stay_readable():
    assert len(model_card(facts(tuple(f"class {i}" for i in range(1000)))).splitlines()) < 90


def test_without_figures_or_story_it_is_still_a_card():
    values = facts()
    for name in ("metrics", "counts", "story", "created_utc"):
        del values[name]
    assert "## Limits" in model_card(values)


def test_tells_what_hardening_brought_and_cost():
    price = {"n": 60, "points": 1.5, "points_ci": [0.5, 2.5], "standard_seconds": 9.0}
    told = {"name": "pgd", "options": {"eps": 0.1, "steps": 3}, "by": "attack", "n": 50}
    told |= {"accuracy": 0.75, "accuracy_ci": [0.61, 0.85], "price": price}
    values = facts()
    card = model_card({**values, "story": {**values["story"], "hardened": told}})
    assert "## What it was hardened against" in card
    assert "`pgd` (eps 0.1, steps 3)" in card
    assert "0.7500 of 50 validation pictures are right (95 % interval 0.6100 to 0.8500)" in card
    assert "60 clean validation pictures: 1.50 points" in card
    unmeasured = {**told, "accuracy": None, "price": None}
    assert "`pgd`" in model_card({**values, "story": {"hardened": unmeasured}})
    assert "hardened" not in model_card(values)


def test_tells_how_sure_it_is_and_what_was_not_fitted():
    conformal = {"method": "class-conditional", "level": 95, "n": 60, "pooled": ["猫"]}
    rejection = {
        "method": "energy",
        "keeps": 0.95,
        "n": 60,
        "tried": {"energy": {"noise": 0.987, "held-out classes": 0.812}},
    }
    trial = {"method": "class-conditional", "coverage": 0.903, "mean_size": 1.234, "n": 60}
    story = {"trust": {"sets": [trial], "refused": []}}
    card = model_card(facts(conformal=conformal, rejection=rejection, story=story))
    for words in ("## How sure it is", "95 % of pictures", "class-conditional", "covered 0.903"):
        assert words in card
    assert "noise 0.987, held-out classes 0.812" in card
    assert "marks what looks unfamiliar as not accepted" in card
    refused = model_card(facts(story={"trust": {"refused": ["Conformal sets need more"]}}))
    assert "- Conformal sets need more" in refused
    assert "How sure it is" not in model_card(facts())
