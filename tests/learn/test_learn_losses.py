"""What uneven classes do to losses, by hand; the rest is in the contract."""

import math

import pytest

torch = pytest.importorskip("torch")

from clearsight.core.errors import ConfigError  # noqa: E402
from clearsight.learn.losses import LOSSES  # noqa: E402

EVEN_ODDS = torch.tensor([[0.0, 0.0]])  # softmax gives 1/2 and 1/2


def value(name, options, counts, label, progress=0.0, logits=EVEN_ODDS):
    loss = LOSSES.load(name)
    measured = loss(loss.Config.parse(options), counts)(logits, torch.tensor([label]), progress)
    return float(measured)


@pytest.mark.parametrize(
    ("name", "options", "counts", "label", "wanted"),
    [
        # weights 1 and (1 - 0.5) / (1 - 0.5^2) = 2/3, over their mean (1 + 2 * 2/3) / 3 = 7/9
        ("class-balanced", {"beta": 0.5}, (1, 2), 0, 9 / 7 * math.log(2)),
        ("class-balanced", {"beta": 0.5}, (1, 2), 1, 6 / 7 * math.log(2)),
        ("class-balanced", {"beta": 0.0}, (1, 2), 1, math.log(2)),
        ("class-balanced", {"beta": 0.5}, (1, 0), 0, math.log(2)),
        ("balanced-softmax", {}, (3, 1), 0, -math.log(3 / 4)),
        ("balanced-softmax", {}, (3, 1), 1, -math.log(1 / 4)),
        ("logit-adjusted", {"tau": 2.0}, (3, 1), 1, -math.log(1 / 10)),
        ("logit-adjusted", {"tau": 0.0}, (3, 1), 1, math.log(2)),
        # margins 2 * (1, (1/16)^(1/4)) = 2 and 1: the odds are e^-2 and e^-1 to 1
        ("ldam", {"max_margin": 2.0}, (1, 16), 0, math.log(1 + math.exp(2))),
        ("ldam", {"max_margin": 2.0}, (1, 16), 1, math.log(1 + math.exp(1))),
        ("focal", {"gamma": 0.0}, (3, 1), 1, math.log(2)),
        ("mean-squared-error", {"of": "logits"}, (3, 1), 1, 0.5),
        ("binary-cross-entropy", {"smoothing": 0.5}, (3, 1), 1, math.log(2)),
    ],
)
def test_worked_by_hand(name, options, counts, label, wanted):
    assert value(name, options, counts, label) == pytest.approx(wanted, abs=1e-6)


def test_ldam_weighs_classes_at_the_end_only():
    options = {"max_margin": 0.0, "beta": 0.5, "reweight_from": 0.8}
    early, late = (value("ldam", options, (1, 2), 0, progress) for progress in (0.79, 0.8))
    assert early == pytest.approx(math.log(2))
    assert late == pytest.approx(9 / 7 * math.log(2))


def test_balanced_softmax_is_logit_adjusted_with_tau_1():
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    for label in range(3):
        one, other = (
            value(name, {}, (90, 9, 0), label, logits=logits)
            for name in ("balanced-softmax", "logit-adjusted")
        )
        assert one == pytest.approx(other)


@pytest.mark.parametrize("name", ["balanced-softmax", "logit-adjusted"])
def test_a_class_without_pictures_is_not_favoured(name):
    """Trained scores of a class that was never seen are pushed down as hard as a large one's."""
    loss = LOSSES.load(name)
    logits = torch.zeros(1, 3, requires_grad=True)
    loss(loss.Config(), (90, 10, 0))(logits, torch.tensor([1])).backward()
    common, _, unseen = logits.grad[0].tolist()
    assert unseen == pytest.approx(common)


@pytest.mark.parametrize(
    ("name", "labels", "wanted"),
    [
        ("binary-cross-entropy", [[1, 1]], math.log(2)),
        ("mean-squared-error", [[1, 1]], 0.25),
        ("focal", [[0, 1]], 0.25 * math.log(2)),
    ],
)
def test_several_labels_by_hand(name, labels, wanted):
    loss = LOSSES.load(name)
    got = loss(loss.Config(), (1, 1))(EVEN_ODDS, torch.tensor(labels))
    assert float(got) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("name", "options"),
    [("focal", {"gamma": -1}), ("class-balanced", {"beta": 1}), ("ldam", {"margin": 1})],
)
def test_wrong_options_are_refused(name, options):
    with pytest.raises(ConfigError):
        LOSSES.load(name).Config.parse(options)
