import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from clearsight.core.errors import ImageError, StorageError
from clearsight.evaluate.report import class_rows, level, percent, render_report, span, write_report
from clearsight.evaluate.score import evaluate

HOSTILE = (
    "<script>window.hit=1</script>",
    "'\"><img src=x onerror=window.hit=1>",
    "{{ 7*7 }}",
    "</style><script>window.hit=1</script>",
)
ABOUT = {
    "family": "compact",
    "part": "test",
    "run": "runs/my run",
    "data": "/pictures/花",
    "seed": 3,
    "config": {"time_s": 90.0, "seed": 3, "model": "auto", "epochs": None},
    "preprocessing": {"height": 28, "width": 28, "channels": 1, "fit": "stretch"},
    "weight_licences": [{"name": "net", "licence": "Apache-2.0", "source": "hub <b>"}],
    "outcome": {
        "seconds": 95.0,
        "counts": {"train": 80, "val": 10, "test": 10, "quarantined": 1},
        "story": {
            "reason": "small pictures",
            "curve": [{"epoch": e, "val_accuracy": 1 - 0.4 * 0.5**e} for e in range(1, 5)],
        },
    },
}


class Reader(HTMLParser):
    """Collects tags, attributes and visible text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text.append(data)

    def values(self, tag, name):
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]


@pytest.fixture
def rendered(make_data, make_picture, colour_predictor):
    def render(names, about=ABOUT):
        folders = [f"c{i:03d}" for i in range(len(names))]
        data = make_data(
            {
                folder: [make_picture(i, 90)] * 2 + [make_picture((i + 1) % len(names), 80)]
                for i, folder in enumerate(folders)
            }
        )
        object.__setattr__(data, "classes", tuple(names))
        found = evaluate(colour_predictor(names), data, temperature=1.5)
        return found, data, render_report(found, about, data)

    return render


def test_names_in_any_script_read_as_they_are(rendered):
    names = ("向日葵", "🌻 emoji", "زهرة", "Ünïcode", "a & b < c")
    _, _, html = rendered(names)
    text = "".join(Reader(html).text)
    for name in names:
        assert name in text
    assert '<meta charset="utf-8">' in html
    assert html.index("charset") < 1024


def test_hostile_names_stay_text(rendered):
    _, _, html = rendered(HOSTILE)
    page = Reader(html)
    text = "".join(page.text)
    for name in HOSTILE:
        assert name in text
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    pictures = page.values("img", "src")
    assert pictures
    assert all(src.startswith("data:image/") for src in pictures)


def test_loads_nothing_and_its_policy_forbids_everything_else(rendered):
    _, _, html = rendered(("a", "b"))
    page = Reader(html)
    policy = next(v for v in page.values("meta", "content") if "default-src" in v)
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy
    assert "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", html, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert not page.values("div", "style")
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert "url(" not in style
    assert "@import" not in style


def test_tells_figures_intervals_and_what_was_left_out(rendered):
    found, _, html = rendered(("a", "b", "c"))
    text = re.sub(r"\s+", " ", " ".join(Reader(html).text))
    accuracy = found.figures.measures["accuracy"]
    assert percent(accuracy.low) in text
    assert percent(accuracy.high) in text
    assert f"{round(accuracy.value * found.n)} of {found.n} pictures are recognised" in text
    for words in ("Worst class recall", "small pictures", "1 min 35 s", "80 train", "hub <b>"):
        assert words in text
    assert "clearsight train DATA --out 'runs/my run' --time 90s --model auto --seed 3" in text


def test_quarantined_files_are_listed_with_their_reason(make_data, make_picture, colour_predictor):
    data = make_data({"a": [make_picture(0, 90), b"<svg onload=alert(1)>"], "b": [b""]})
    data2 = evaluate(colour_predictor(("a", "b")), data)
    text = " ".join(Reader(render_report(data2, {}, data)).text)
    assert data2.quarantined
    for item in data2.quarantined:
        assert item.name in text
        assert item.detail in text
    assert f"{data2.found} found = {data2.n} scored" in text


def test_classes_come_worst_first(make_data, make_picture, colour_predictor):
    data = make_data(
        {
            "good": [make_picture(2, 90)] * 3,
            "bad": [make_picture(0, 90)] + [make_picture(2, 90)] * 2,
            "middle": [make_picture(1, 90)] * 2 + [make_picture(0, 70)],
        }
    )
    found = evaluate(colour_predictor(("bad", "middle", "good", "absent")), data)
    rows = class_rows(found.figures)
    assert [row.name for row in rows] == ["bad", "middle", "good", "absent"]
    assert (rows[0].taken_for, rows[0].taken_for_n) == ("good", 2)


@pytest.mark.parametrize(("classes", "table"), [(3, True), (25, True), (26, False)])
def test_a_matrix_that_no_longer_fits_becomes_a_list(rendered, classes, table):
    _, _, html = rendered([f"name {i}" for i in range(classes)])
    assert ('class="matrix' in html) == table
    assert ('class="heat"' in html) != table


def test_the_matrix_shows_the_counts(rendered):
    found, _, html = rendered(("a", "b", "c"))
    cells = re.findall(r'<td class="[rw] h\d">([^<]*)</td>', html)
    counts = [0 if cell == "·" else int(cell) for cell in cells]
    assert counts == found.figures.confusion.ravel().tolist()


def test_the_reliability_diagram_draws_its_bins_where_they_are(rendered):
    found, _, html = rendered(("a", "b", "c"))
    chart = html.split("As delivered: accuracy against score")[1].split("</svg>")[0]
    dots = [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart)]
    expected = [(42 + 290 * b.confidence, 260 - 250 * b.accuracy) for b in found.reliability]
    assert np.allclose(dots, expected, atol=0.06)


def test_without_mistakes_facts_or_temperature(make_data, make_picture, colour_predictor):
    data = make_data({"a": [make_picture(0, 100)] * 2, "b": [make_picture(1, 100)] * 2})
    found = evaluate(colour_predictor(("a", "b")), data)
    html = render_report(found, {}, data)
    assert "There is none: every picture got its label." in html
    assert "Before calibration" not in html
    assert 'class="big">100<' in html


def test_a_picture_that_vanished_leaves_a_note(make_data, make_picture, colour_predictor):
    data = make_data({"a": [make_picture(1, 90)], "b": [make_picture(1, 90)]})
    found = evaluate(colour_predictor(("a", "b")), data)
    shutil.rmtree(data.root)
    with pytest.raises(ImageError):
        data.image(0)
    assert "can no longer be read" in render_report(found, {}, data)


def test_large_pictures_are_made_small(make_data, make_picture, colour_predictor):
    data = make_data(
        {"a": [make_picture(1, 90, size=1500)] * 8, "b": [make_picture(1, 90, size=40)]}
    )
    found = evaluate(colour_predictor(("a", "b")), data)
    html = render_report(found, {}, data)
    assert "data:image/jpeg" in html
    assert "data:image/png" in html
    assert len(html) < 120_000


def test_odd_file_names_can_be_written(rendered, tmp_path, make_data):
    found, data, _ = rendered(("a", "b"))
    odd = found.mistakes[0].__class__(0, "bad\udcffname.png", "a", "b", 0.9, 0.1)
    object.__setattr__(found, "mistakes", (odd,))
    target = tmp_path / "report.html"
    write_report(target, found, ABOUT, data)
    assert "bad" in target.read_text(encoding="utf-8")
    with pytest.raises(StorageError):
        write_report(tmp_path / "none" / "report.html", found, ABOUT, data)


@pytest.mark.parametrize(
    ("curve", "drawn"),
    [
        ([], False),
        ([{"epoch": 1}], False),
        ([3, None], False),
        ([{"epoch": 0, "val_accuracy": 0.0}] * 2, True),
        ([{"epoch": 0.5, "val_accuracy": 1.0}, {"epoch": 9, "val_accuracy": 0.2}], True),
    ],
)
def test_curves_of_any_shape_do_not_break_it(rendered, curve, drawn):
    _, _, html = rendered(("a", "b"), {**ABOUT, "outcome": {"story": {"curve": curve}}})
    assert ("while learning" in html) == drawn


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0 %"), (1.0, "100 %"), (0.99996, "> 99.9 %"), (1e-9, "< 0.1 %"),
     (0.923, "92.3 %")],
)  # fmt: skip
def test_percentages_never_round_to_certainty(value, text):
    assert percent(value) == text


def test_durations_and_shades():
    assert [span(s) for s in (0.5, 95, 7260)] == ["0.5 s", "1 min 35 s", "2 h 1 min"]
    assert [level(c, 100) for c in (0, 1, 100)] == [0, 1, 9]


def test_in_a_browser_it_is_quiet_and_fits(rendered, tmp_path):
    """No script runs, nothing is refused by the policy, the page never scrolls sideways."""
    play = pytest.importorskip("playwright.sync_api", reason="needs a browser")
    found, data, _ = rendered((*HOSTILE, "向日葵 🌻", "a rather long name of a class that wraps"))
    path = tmp_path / "report.html"
    write_report(path, found, ABOUT, data)
    with play.sync_playwright() as running:
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        try:
            browser = running.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        except play.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        said = []
        for width in (1200, 400):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("console", lambda message: said.append(message.text))
            page.on("request", lambda request: said.append(request.url))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("window.hit") is None
            assert page.evaluate("getComputedStyle(document.querySelector('.big')).fontSize") in (
                "76px",
                "62px",
            )
            broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
            assert page.evaluate(broken) == 0
        browser.close()
    assert [text for text in said if not text.startswith(("file:", "data:"))] == []
