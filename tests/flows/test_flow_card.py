"""The recognizer card grows with every verb that finds something out."""

import json
import re

import pytest
from flow_support import write_digits

from clearsight import api
from clearsight.core.bundle import open_bundle
from clearsight.core.progress import Silent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("card") / "data", ["zero", "one", "two"], 40)


@pytest.fixture(scope="module")
def run(data):
    api.train(data, out=data.parent / "run", model="textbook", epochs=4)
    return data.parent / "run"


def section(run, title):
    parts = re.split(r"^(?=## )", (run / "card.md").read_text("utf-8"), flags=re.MULTILINE)
    found = [part for part in parts if part.startswith(f"## {title}")]
    assert len(found) == 1, title
    return found[0]


def test_it_tells_what_each_verb_found(run, data):
    kept = (run / "bundle" / "card.md").read_bytes()
    assert "validation part" in section(run, "How good it is")
    assert "Not looked at yet" in section(run, "What it looks at")
    assert "Not measured yet" in section(run, "What breaks it")
    assert "were not tested" in section(run, "Limits")

    told, _ = api.evaluate_run(run, None, None)
    good = section(run, "How good it is")
    assert f"{told.n} pictures of the test part" in good
    assert f"| accuracy | {told.accuracy:.4f} |" in good
    assert "[report.html](report.html)" in section(run, "How sure it is")

    one = api.explain_run(run, [data / "zero"], api.Asked(class_maps=2))
    good = sum(row["faithful"] for row in one.rows)
    looks = section(run, "What it looks at")
    assert f"on {good} of {len(one.rows)} pictures" in looks
    assert f"`{one.method}`" in looks
    assert "[explain/sheet.html](explain/sheet.html)" in looks
    two = api.explain_run(run, [next((data / "one").iterdir())], api.Asked(check_weights=False))
    looks = section(run, "What it looks at")
    assert two.out.name == "explain-2"
    assert "of 1 pictures" in looks, "the newest explanations"
    assert "explain/sheet.html" in looks, "and the newest average maps"

    found = api.stress(run, suite="corruptions", kinds=["fog", "contrast"], severities=[1, 5])
    breaks = section(run, "What breaks it")
    assert f"On {found.n} pictures of test, {found.clean.accuracy:.4f}" in breaks
    low, high = found.corruptions["fog"][5].interval
    assert f"{found.corruptions['fog'][5].accuracy:.3f} ({low:.3f} to {high:.3f})" in breaks
    assert f"{found.mce.value:.4f}" in breaks
    assert "were not tested" not in section(run, "Limits")

    page = (run / "card.html").read_text("utf-8")
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert 'href="robustness.html"' in page
    assert page.count("<section>") == page.count("</section>") == page.count("<h2>") > 6
    assert (run / "bundle" / "card.md").read_bytes() == kept, "a Bundle stays as it is"
    open_bundle(run)


def test_a_damaged_finding_is_left_out_and_said(run, data, tmp_path):
    class Said(Silent):
        def say(self, what, **more):
            said.append(what)

    said = []
    (run / "robustness.json").write_text("{", "utf-8")
    api.cards.update_card(run, open_bundle(run), Said())
    assert "Not measured yet" in section(run, "What breaks it")
    assert said == ["left out of the card"]


def test_a_bundle_alone_gets_no_card(run, data, tmp_path):
    before = sorted(path.name for path in (run / "bundle").iterdir())
    api.evaluate_run(run / "bundle", data, tmp_path / "report.html")
    assert sorted(path.name for path in (run / "bundle").iterdir()) == before
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["n"] == 120
