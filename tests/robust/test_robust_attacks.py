"""Attacks, the ensemble, the detector of hidden gradients, certificates."""

import numpy as np
import pytest

from clearsight.core.errors import ClearsightError, UsageError
from clearsight.core.nouns import Gradient
from clearsight.core.seeds import generator
from clearsight.robust.attacked import Rounded, attack, joined, ordered, signs_of_masking
from clearsight.robust.attacks import ATTACKS
from clearsight.robust.certificate import certify, certify_all
from clearsight.robust.plan import plan_attacks
from clearsight.robust.steps import CROSS_ENTROPY, TARGETED_RATIO, project
from clearsight.testing.soft_network import CLASSES, SIDE, SoftNetwork

RADIUS = 4.0


def pictures(n=80, channels=1):
    random = generator(1, "attacks", channels)
    return random.integers(0, 256, (n, SIDE, SIDE, channels), dtype=np.uint8)


def attacked(model, n=80, radius=RADIUS, attacks=None, truth=None):
    images = pictures(n)
    labels = (truth or model).logits(images.astype(np.float32)).argmax(axis=1)
    return attack(model, images, labels, attacks or plan_attacks(model), radius, seed=3)


@pytest.mark.parametrize("objective", [CROSS_ENTROPY, TARGETED_RATIO])
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_slopes_are_the_derivatives_of_the_values(objective, classes):
    random = generator(0, "slopes", classes)
    logits = random.normal(0, 3, (20, classes)).astype(np.float32)
    labels = random.integers(0, classes, 20)
    targets = (labels + 1) % classes
    slope = objective.slope(logits, labels, targets)
    step = 1e-3
    for column in range(classes):
        up, down = logits.astype(np.float64), logits.astype(np.float64)
        up[:, column] += step
        down[:, column] -= step
        change = objective.value(up, labels, targets) - objective.value(down, labels, targets)
        np.testing.assert_allclose(slope[:, column], change / (2 * step), rtol=2e-2, atol=2e-3)


def test_attacks_run_from_cheap_to_dear():
    assert ordered(["square", "mine", "pgd", "fgsm"]) == ["fgsm", "pgd", "square", "mine"]
    assert list(plan_attacks(SoftNetwork())) == ordered(ATTACKS.keys())
    assert list(plan_attacks(None)) == ["square"]


def test_the_ensemble_is_at_most_each_attack_and_pictures_that_were_wrong_stay_wrong():
    model = SoftNetwork()
    found = attacked(model, truth=SoftNetwork(seed=1))
    assert 0 < found.clean.sum() < len(found.clean)
    for right in found.right.values():
        assert not (right & ~found.clean).any()
        assert not (found.ensemble & ~right).any()


def test_an_honest_network_falls_and_shows_no_sign_of_masking():
    found = attacked(SoftNetwork())
    assert found.clean.all()
    assert found.ensemble.mean() < 0.5
    assert found.right["apgd-ce"].sum() <= found.right["fgsm"].sum()
    assert signs_of_masking(found) == []
    place, pixels, taken = found.changed["pgd"]
    clean = pictures()[place]
    assert np.abs(pixels - clean).max() <= RADIUS + 1e-3
    assert SoftNetwork().logits(pixels[None]).argmax() == taken


class Stairs(SoftNetwork):
    """Rounds its input to few grey levels: no gradient anywhere, and no more robust for it."""

    def logits(self, pixels_nhwc):
        return super().logits(np.round(pixels_nhwc / 8) * 8)

    def gradient(self, pixels_nhwc, of, layer=None):
        return Gradient(self.logits(pixels_nhwc), pixels_nhwc, np.zeros_like(pixels_nhwc))


class Backwards(SoftNetwork):
    """Gives gradients that point the wrong way."""

    def gradient(self, pixels_nhwc, of, layer=None):
        true = super().gradient(pixels_nhwc, of, layer)
        return Gradient(true.logits, true.values, -true.gradients)


def test_zero_gradients_are_found_out():
    kinds = {sign.kind for sign in signs_of_masking(attacked(Stairs()))}
    assert "zero gradients" in kinds
    assert "unbounded attack fails" in kinds


def test_gradients_that_lead_astray_are_found_out():
    signs = {sign.kind: sign for sign in signs_of_masking(attacked(Backwards()))}
    assert "black box beats white box" in signs
    sign = signs["black box beats white box"]
    assert 0 < sign.n <= sign.of == 80


def test_an_attack_that_leaves_the_ball_is_found_out():
    class Far:
        black_box = True
        baseline = ""

        def __call__(self, model, pixels, labels, radius, random):
            return project(pixels + 2 * radius, pixels, 2 * radius)

    with pytest.raises(ClearsightError, match="'far' left its ball"):
        attacked(SoftNetwork(), attacks={"far": Far()})


def test_pieces_are_joined_in_order():
    model = SoftNetwork()
    whole = attacked(model)
    parts = joined([whole, whole])
    assert len(parts.clean) == 160
    assert parts.changed["fgsm"][0] == whole.changed["fgsm"][0]
    assert np.array_equal(parts.right["pgd"][80:], whole.right["pgd"])


def test_the_same_seed_gives_the_same_figures():
    first, second = attacked(SoftNetwork()), attacked(SoftNetwork())
    for key, right in first.right.items():
        assert np.array_equal(right, second.right[key])


def test_a_black_box_is_asked_about_whole_grey_levels():
    asked = []

    class Camera(SoftNetwork):
        def logits(self, pixels_nhwc):
            asked.append(pixels_nhwc.dtype)
            return super().logits(pixels_nhwc)

    target = Rounded(Camera())
    found = attacked(target, attacks=plan_attacks(None), truth=SoftNetwork())
    assert set(asked) == {np.dtype(np.uint8)}
    assert found.right["square"].mean() < 0.9
    assert not found.without_slope.any()


class Halves:
    """Takes a picture for class 1 where its mean is above the middle; a linear recognizer."""

    def logits(self, images):
        lead = images.reshape(len(images), -1).mean(axis=1) - 127.5
        return np.stack([-lead, lead], axis=1).astype(np.float32)


def test_a_certificate_is_no_longer_than_the_truth_and_near_it():
    image = np.full((SIDE, SIDE, 1), 150, np.uint8)
    true_radius = (150 - 127.5) / 255 * SIDE  # distance to the plane, L2 over 64 pixels
    found = certify(Halves().logits, image, sigma=0.5, seed=1, votes=2000)
    assert found.column == 1
    assert 0.5 * true_radius < found.radius <= true_radius


def test_a_picture_on_the_border_gets_no_answer():
    image = np.full((SIDE, SIDE, 1), 127, np.uint8)
    image[::2] = 128
    assert certify(Halves().logits, image, 0.5, seed=1, votes=200).column is None


def test_many_certificates_are_counted():
    images = np.stack([np.full((SIDE, SIDE, 1), level, np.uint8) for level in (20, 60, 200, 127)])
    found = certify_all(Halves().logits, images, np.array([0, 1, 1, 0]), 0.25, seed=2, votes=300)
    assert (found.n, found.right) == (4, 2 if found.abstained else 3)
    assert found.at_radius[0.0] == found.right
    assert found.at_radius[1.5] <= found.at_radius[0.25]
    assert found.to_json()["accuracy"] == found.right / 4


@pytest.mark.parametrize(("sigma", "votes"), [(0, 10), (-1, 10), (float("nan"), 10), (0.5, 0)])
def test_a_certificate_without_noise_or_votes_is_refused(sigma, votes):
    with pytest.raises(UsageError, match="sigma above 0"):
        certify(Halves().logits, np.zeros((2, 2, 1), np.uint8), sigma, 1, votes)


def test_the_toy_network_has_true_gradients():
    model = SoftNetwork()
    pixels = pictures(4).astype(np.float32)
    own = np.zeros((4, CLASSES), np.float32)
    own[:, 2] = 1
    found = model.gradient(pixels, lambda logits: own).gradients
    moved = pixels.copy()
    moved[:, 3, 4, 0] += 0.5
    change = (model.logits(moved) - model.logits(pixels))[:, 2] / 0.5
    np.testing.assert_allclose(found[:, 3, 4, 0], change, rtol=0.05, atol=1e-4)
