"""Recognizers side by side on tiny Bundles: ranking, costs, classes by name, report, picture."""

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from clearsight import api
from clearsight.core.errors import DataError, UsageError
from clearsight.core.progress import Silent
from clearsight.data.dataset import read_dataset
from clearsight.engines.open import open_predictor
from clearsight.evaluate.comparison import Contender, compare
from clearsight.evaluate.comparison_report import (
    Told,
    brief,
    render_comparison,
    render_picture,
    write_comparison,
)
from clearsight.testing.tiny_bundle import write_colour_bundle

NASTY = '<script>alert(1)</script>&"\u202e'


def picture(red, green, blue):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (red, green, blue)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Sixty pictures of a main colour, in class folders; one of them is broken."""
    folder = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    for place, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir()
        for number in range(20):
            values = random.integers(0, 100, 3)
            values[place] = 200
            (folder / name / f"{number:02d}.png").write_bytes(picture(*values.tolist()))
    (folder / "red" / "99.png").write_bytes(picture(200, 0, 0)[:45])
    return folder


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Three that are right, one with its classes in another order and one that mixes two up."""
    folder = tmp_path_factory.mktemp("bundles")
    orders = {
        "right": ("red", "green", "blue"),
        "surer": ("red", "green", "blue"),
        "mixed-up": ("green", "red", "blue"),
        "wider": ("red", "green", "blue", "grey"),
    }
    for name, classes in orders.items():
        write_colour_bundle(folder / name, classes, gain=0.2 if name == "surer" else 0.1)
    return folder


@pytest.fixture(scope="module")
def found(colours, bundles):
    contenders = [
        Contender(name, open_predictor(bundles / name), bundles / name, 1.5)
        for name in ("right", "mixed-up", "wider", "surer")
    ]
    return compare(contenders, read_dataset(colours), "all", Silent())


def test_ranking_figures_and_letters(found):
    names = [item.contender.name for item in found.standings]
    assert names[0] == "surer", "equal accuracy: the surer one has the smaller log-loss"
    assert set(names[1:3]) == {"right", "wider"}
    assert names[3] == "mixed-up"
    accuracies = [item.accuracy.value for item in found.standings]
    assert accuracies == pytest.approx([1, 1, 1, 1 / 3])
    assert [item.group for item in found.standings] == ["a", "a", "a", "b"]
    assert found.n == 60
    assert [left.name for left in found.quarantined] == ["red/99.png"]
    assert found.pair("mixed-up", "right").only_first == 40
    assert found.pair("right", "surer").p_corrected == 1


def test_costs_are_measured(found):
    for item in found.standings:
        cost = item.cost
        assert 0 < cost.model.p50_ms <= cost.model.p95_ms
        assert 0 < cost.picture.p50_ms <= cost.picture.p95_ms
        assert cost.model_rate > 0
        assert cost.picture_rate > 0
        files = [path for path in item.contender.run.rglob("*") if path.is_file()]
        assert cost.bundle_bytes == sum(path.stat().st_size for path in files)
        if Path("/proc/self/status").exists():
            assert 20 < cost.memory_mib < 1000


def test_the_front_holds_who_is_beaten_by_nobody(found):
    for cost in ("latency", "size"):
        front = found.front(cost)
        assert front[0] in ("surer", "right", "wider")
        assert "mixed-up" not in front[:1]
    smallest = min(found.standings, key=lambda item: item.cost.bundle_bytes)
    assert smallest.contender.name in found.front("size")


def test_json_is_plain_and_complete(found):
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    line = values["runs"][0]
    wanted = "name group accuracy accuracy_ci balanced_accuracy macro_f1 log_loss ece train_s cost"
    assert set(wanted.split()) <= set(line)
    assert len(values["pairs"]) == 6
    pair = values["pairs"][0]
    assert {"p", "p_corrected", "p_as_they_are", "luck", "different", "accuracy"} <= set(pair)
    assert set(pair["accuracy"]) == {"value", "low", "high"}


def test_a_sample_is_the_same_for_all_and_said(colours, bundles):
    contenders = [
        Contender(name, open_predictor(bundles / name), bundles / name)
        for name in ("right", "surer")
    ]
    few = compare(contenders, read_dataset(colours), "all", Silent(), limit=12)
    assert (few.n, few.of) in {(12, 61), (11, 61)}
    assert "a random sample of" in render_comparison(few, Told())
    again = compare(contenders, read_dataset(colours), "all", Silent(), scoring_s=1e-9)
    assert again.n == 60, "a limit on the time never leaves less than a thousand pictures"


def test_through_the_api(colours, bundles, tmp_path):
    found = api.compare([bundles / "right", bundles / "wider"], data=colours)
    assert found.part == "all"
    report = write_comparison(tmp_path / "c.html", found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.html", "c.json", "c.svg"]
    assert json.loads((tmp_path / "c.json").read_text())["n"] == 60
    assert report.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("names", [["right"], [], ["right", "right"]])
def test_one_recognizer_is_no_comparison(bundles, colours, names):
    with pytest.raises(UsageError, match="two or more different"):
        api.compare([bundles / name for name in names], data=colours)


def test_a_bundle_alone_needs_data(bundles):
    with pytest.raises(UsageError, match="DATA"):
        api.compare([bundles / "right", bundles / "wider"])


def test_an_unknown_class_is_named(colours, bundles, tmp_path):
    write_colour_bundle(tmp_path / "other", ("red", "green", "azure"))
    with pytest.raises(DataError, match="blue"):
        api.compare([bundles / "right", tmp_path / "other"], data=colours)


def test_a_report_is_an_html_file(found, tmp_path):
    with pytest.raises(UsageError, match=r"FILE\.html"):
        write_comparison(tmp_path / "report.pdf", found)
    with pytest.raises(UsageError, match="no folder"):
        write_comparison(tmp_path / "missing" / "report.html", found)


def test_the_page_runs_nothing_and_loads_nothing(found):
    told = Told(title=NASTY, budget_s=60, failed={NASTY: NASTY}, command=NASTY, machine=NASTY)
    page = render_comparison(found, told)
    assert "<script" not in page.lower()
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", page)
    assert not re.search(r"\son\w+=", page)
    for name in ("right", "surer", "mixed-up", "wider"):
        assert name in page


def test_the_picture_is_well_formed(found):
    told = Told(title=NASTY, budget_s=60, failed={"vgg": "too large"}, machine=NASTY)
    root = ElementTree.fromstring(render_picture(found, told).encode())
    text = "".join(root.itertext())
    assert "not trained: vgg" in text
    assert "1 min of training each" in text
    assert not [item for item in root.iter() if item.tag.endswith("script")]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "0.012"), (0.5, "0.5"), (4.56, "4.6"), (1234.4, "1,234")]
)
def test_brief(value, text):
    assert brief(value) == text
