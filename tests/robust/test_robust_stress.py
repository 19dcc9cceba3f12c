"""The stress test end to end: figures, gates, the card, refusals."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from clearsight import api
from clearsight.cli import main as command_line
from clearsight.core.errors import DataError, UnknownKeyError, UsageError
from clearsight.core.progress import Silent
from clearsight.data.dataset import read_dataset
from clearsight.robust.card import render_card
from clearsight.robust.gates import parse_gates, unmet
from clearsight.robust.plan import Piece, Plan, plan_attacks, plan_views
from clearsight.robust.robustness import Mean, Rate
from clearsight.robust.stress import stress
from clearsight.testing.scenes import scenes
from clearsight.testing.soft_network import SIDE, SoftNetwork
from clearsight.testing.tiny_bundle import COLOURS, write_colour_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_colour_bundle(tmp_path / "bundle").path


@pytest.fixture
def data(tmp_path):
    for column, name in enumerate(COLOURS):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            picture = scenes(1, 8, 8, seed=10 * column + number)[0] // 3
            picture[..., column] += 60 + 6 * number
            Image.fromarray(picture).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clearsight", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


class Recognizer(SoftNetwork):
    """A toy recognizer that is asked about whole grey levels."""


def pieces(n=60, size=25):
    model = Recognizer()
    images = np.random.default_rng(0).integers(0, 256, (n, SIDE, SIDE, 1), dtype=np.uint8)
    labels = model.logits(images.astype(np.float32)).argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 12  # a tenth is labelled otherwise
    for start in range(0, n, size):
        places = list(range(start, min(start + size, n)))
        yield Piece(images[places], labels[places], places)


def measured(plan, n=60, size=25):
    return stress(Recognizer(), pieces(n, size), n, plan, Silent())


def test_figures_are_the_counts_of_the_answers():
    views, _ = plan_views("corruptions", grey=True, kinds=["gaussian_noise", "contrast"])
    found = measured(Plan(views=views))
    assert found.n == 60
    assert found.clean == Rate(54, 60)
    assert set(found.corruptions) == {"gaussian-noise", "contrast"}
    images = np.concatenate([piece.images for piece in pieces()])
    labels = np.concatenate([piece.labels for piece in pieces()])
    contrast = next(view for view in views if view.kind == "contrast" and view.severity == 5)
    right = Recognizer().logits(contrast.distortion(images, 5, 0)).argmax(axis=1) == labels
    assert found.corruptions["contrast"][5] == Rate(int(right.sum()), 60)
    errors = [1 - rate.accuracy for by in found.corruptions.values() for rate in by.values()]
    assert found.mce is not None
    assert found.mce.value == pytest.approx(np.mean(errors))
    assert found.relative_mce.value == pytest.approx(np.mean(errors) - 0.1)
    assert found.mce_kinds == 2


def test_the_same_seed_gives_the_same_card_and_another_seed_another():
    views, _ = plan_views("corruptions", grey=True, kinds=["gaussian-noise"], severities=[5])
    one, two, other = (
        measured(Plan(views=views, seed=seed)).corruptions["gaussian-noise"][5].right
        for seed in (0, 0, 1)
    )
    assert one == two
    assert isinstance(other, int)


def test_classes_fail_below_half_of_their_clean_recall():
    views, _ = plan_views("corruptions", grey=True, kinds=["contrast"])
    found = measured(Plan(views=views), n=200)
    for item in found.failures:
        assert item.judged == (item.right >= 5)
        assert (item.severity is None) == (not item.kinds)
        if item.severity is not None:
            assert item.severity == min(item.kinds.values())
    assert any(item.severity for item in found.failures)
    order = [item.severity or 9 for item in found.failures if item.judged]
    assert order == sorted(order)


def test_examples_were_right_clean_and_are_wrong_when_changed():
    views, _ = plan_views("all", grey=True)
    model = Recognizer()
    found = measured(Plan(views=views, attacks=plan_attacks(model), model=model, epsilon=0.02))
    assert len(found.examples) > 20
    names = list(model.classes)
    for example in found.examples:
        clean = model.logits(example.before[None].astype(np.float32)).argmax()
        assert names[clean] == example.truth != example.predicted
        if example.severity is not None:
            said = model.logits(example.after[None].astype(np.float32)).argmax()
            assert names[said] == example.predicted


def test_attacks_stop_at_their_limit_and_tell_every_rate():
    model = Recognizer()
    plan = Plan(attacks=plan_attacks(model), model=model, epsilon=0.02, attack_limit=30)
    found = measured(plan)
    attacks = found.attacks
    assert attacks.clean == Rate(27, 30)
    assert set(attacks.rates) == {*plan.attacks, "ensemble"}
    assert attacks.rates["ensemble"].right == min(rate.right for rate in attacks.rates.values())
    assert attacks.trusted
    told = found.to_json()
    assert told["attacks"]["apgd_ce"] == attacks.rates["apgd-ce"].accuracy
    assert told["attack"]["n"] == 30
    json.dumps(told, allow_nan=False)


def test_colour_changes_are_left_out_of_grey_recognizers_with_the_reason():
    views, left_out = plan_views("corruptions", grey=True)
    assert set(left_out) == {"saturate"}
    assert len(views) == 19 * 5
    views, left_out = plan_views("all", grey=False)
    assert (len(views), left_out) == ((20 + 7) * 5, {})


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"suite": "corruption"}, UsageError),
        ({"suite": "all", "severities": [6]}, UsageError),
        ({"suite": "all", "severities": [0]}, UsageError),
        ({"suite": "all", "kinds": ["fogg"]}, UnknownKeyError),
        ({"suite": "deformations", "kinds": ["fog"]}, UnknownKeyError),
    ],
)
def test_what_cannot_be_measured_is_refused(options, error):
    with pytest.raises(error):
        plan_views(grey=True, **options)


def test_an_unknown_kind_names_its_neighbour():
    with pytest.raises(UnknownKeyError, match="'fog'"):
        plan_views("all", grey=True, kinds=["fogg"])


def test_nothing_to_measure_is_an_error_and_so_is_a_multi_label_recognizer():
    with pytest.raises(DataError, match="no picture"):
        stress(Recognizer(), iter(()), 0, Plan(), Silent())
    several = Recognizer()
    several.task = "multi-label"
    with pytest.raises(UsageError, match="multi-label"):
        stress(several, pieces(), 60, Plan(), Silent())


def test_all_equal_pictures_are_measured():
    images = np.full((4, SIDE, SIDE, 1), 90, np.uint8)
    labels = Recognizer().logits(images.astype(np.float32)).argmax(axis=1)
    model = Recognizer()
    views, _ = plan_views("all", grey=True)
    plan = Plan(views=views, attacks=plan_attacks(model), model=model, sigma=0.25, votes=50)
    found = stress(model, iter([Piece(images, labels, range(4))]), 4, plan, Silent())
    assert found.clean == Rate(4, 4)
    assert found.deformations["rotation"][5] == Rate(4, 4)
    assert found.certificate.n == 4


GATES = {
    "clean<0.95": True,
    "clean<0.5": False,
    "contrast@5<0.99": True,
    "contrast@5>0.99": False,
    "contrast<0.999": True,
    "mce>0.01": True,
    "relative-mce>0.99": False,
    "corruptions<0.99": True,
    "fgsm<0.9": True,
    "ensemble<0": False,
}


def gate_plan():
    model = Recognizer()
    views, _ = plan_views("corruptions", grey=True, kinds=["contrast"])
    return Plan(views=views, attacks=plan_attacks(model), model=model, epsilon=0.03)


def test_gates_fail_exactly_where_they_say():
    plan = gate_plan()
    gates = parse_gates(GATES, plan)
    failed = unmet(gates, measured(plan))
    assert {line.partition(":")[0] for line in failed} == {
        text for text, fails in GATES.items() if fails
    }
    assert all("n 60" in line for line in failed)


@pytest.mark.parametrize(
    "text",
    ["", "contrast", "contrast=0.5", "contrast<2", "contrast@9<0.5", "fog<0.5", "clean@2<0.5",
     "certified<0.5", "contrast<0.5.1", "contrast<-1", "deformations<0.5"],
)  # fmt: skip
def test_gates_that_cannot_be_are_refused(text):
    with pytest.raises(UsageError):
        parse_gates([text], gate_plan())


def test_a_mean_has_the_interval_of_its_pictures():
    mean = Mean.of(np.array([0.0, 1.0, 0.5, 0.5]))
    half = 1.959964 * np.std([0, 1, 0.5, 0.5], ddof=1) / 2
    assert (mean.value, mean.n) == (0.5, 4)
    assert mean.high - mean.value == pytest.approx(half, rel=1e-6)
    assert Mean.of(np.array([0.3])).low == 0.3


HOSTILE = "<script>window.hit=1</script>"


def test_the_card_tells_every_figure_and_runs_nothing():
    model = Recognizer()
    views, left_out = plan_views("all", grey=True)
    plan = Plan(
        views=views, attacks=plan_attacks(model), model=model, epsilon=0.02, sigma=0.25,
        votes=50, certify_limit=5, left_out=left_out,
    )  # fmt: skip
    model.classes = (HOSTILE, "向日葵", *model.classes[2:])
    found = stress(model, pieces(), 60, plan, Silent())
    html = render_card(found, {"family": "toy", "data": HOSTILE})
    assert "<script" not in html
    assert "script-src" not in html
    assert "default-src 'none'" in html
    for title in ("Gaussian noise", "JPEG compression", "Rotation", "APGD-CE", "Ensemble"):
        assert title in html, title
    assert "向日葵" in html
    assert "drawn ice" in html
    assert "Saturate is left out" in html
    rate = found.corruptions["fog"][3]
    assert f"{rate.right} of {rate.n}, 95 % interval" in html
    assert html.count("data:image/png") == 2 * len(found.examples)
    assert not re.search(r"""(src|href)=["']?https?:""", html)


def test_a_masked_network_is_told_apart_on_the_card():
    class Hidden(Recognizer):
        def gradient(self, pixels_nhwc, of, layer=None):
            true = super().gradient(pixels_nhwc, of, layer)
            return type(true)(true.logits, true.values, np.zeros_like(true.gradients))

    model = Hidden()
    plan = Plan(attacks=plan_attacks(model), model=model, epsilon=0.02)
    found = stress(model, pieces(), 60, plan, Silent())
    assert not found.attacks.trusted
    assert "Do not trust these figures" in render_card(found, {})


def test_the_api_writes_card_and_json(bundle, data, tmp_path):
    out = tmp_path / "card.html"
    found = api.stress(bundle, data, out=out, suite="corruptions", kinds=["fog", "contrast"])
    assert found.clean == Rate(24, 24)
    told = json.loads(out.with_suffix(".json").read_text())
    assert told["n"] == 24
    assert set(told["corruptions"]) == {"fog", "contrast"}
    assert set(told["corruptions"]["fog"]) == {"1", "2", "3", "4", "5"}
    assert told["deformations"] == told["attacks"] == {}
    assert told["about"]["family"] == "colour"
    assert out.read_text().startswith("<!doctype html>")


def test_a_damaged_picture_is_named_and_the_rest_measured(bundle, data, tmp_path):
    file = data / "red" / "3.png"
    file.write_bytes(file.read_bytes()[:-30])
    heard = []

    class Listener(Silent):
        def say(self, event, **fields):
            heard.append((event, fields))

    found = api.stress(
        bundle, data, out=tmp_path / "c.html", suite="deformations", kinds=["scale"],
        severities=[1], progress=Listener(),
    )  # fmt: skip
    assert found.n == 23
    assert any(fields.get("path", "").endswith("3.png") for _, fields in heard)


def test_a_bundle_alone_needs_a_place_for_its_card(bundle, data):
    with pytest.raises(UsageError, match="--out"):
        api.stress(bundle, data)


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"attack_limit": 0}, {"epsilon": 0}, {"epsilon": 1.5}, {"certify": 0},
     {"certify": -1.0}, {"suite": "everything"}, {"severities": [7]}, {"variant": "int8"}],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(bundle, data, tmp_path, options):
    with pytest.raises(UsageError):
        api.stress(bundle, data, out=tmp_path / "card.html", **options)
    assert not (tmp_path / "card.html").exists()


def test_the_sample_is_random_and_the_same_for_the_same_seed(data):
    from clearsight.api.stressing import _sample

    dataset = read_dataset(data)
    names = [[s.name for s in _sample(dataset, 6, seed).samples] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert len(_sample(dataset, None, 0)) == len(dataset)


def test_the_command_prints_the_json_of_the_design_and_gates_exit_with_3(
    call, bundle, data, tmp_path
):
    options = ["--out", tmp_path / "card.html", "--suite", "corruptions", "--kind", "fog"]
    code, out, _ = call("stress", bundle, data, *options, "--json", "--quiet", "--limit", 12)
    told = json.loads(out)
    assert code == 0
    assert {"n", "clean", "corruptions", "deformations", "attacks"} <= set(told)
    assert told["n"] == 12
    gate = ["--fail-on", "clean<0.5", "--fail-on", "fog@5<1", "--fail-on", "fog@1>0"]
    code, out, err = call("stress", bundle, data, *options, "--json", "--quiet", *gate)
    assert code == 3
    assert json.loads(out)["failed_gates"]
    assert "fog@1>0" in err
    code, _, err = call("stress", bundle, data, *options, "--severity", 6, "--quiet")
    assert code == 2
    assert "1 (slight) to 5" in err
    code, _, err = call("stress", bundle, data, *options, "--fail-on", "frog<0.5", "--quiet")
    assert code == 2
    assert "'frog'" in err


def test_people_read_lines(call, bundle, data, tmp_path):
    options = ["--out", tmp_path / "card.html", "--kind", "fog", "--suite", "corruptions"]
    code, out, _ = call("stress", bundle, data, *options, "--quiet", "--certify", 0.1)
    assert code == 0
    assert "Clean 1.0000" in out
    assert "Certified with noise 0.1" in out
    assert f"Card: {tmp_path / 'card.html'}" in out
