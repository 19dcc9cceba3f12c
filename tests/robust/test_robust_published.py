"""The corruptions against their published definitions, worked out by other libraries."""

import importlib

import numpy as np
import pytest

from clearsight.core.errors import UsageError
from clearsight.robust.corruptions import CORRUPTIONS
from clearsight.robust.published import published
from clearsight.testing.scenes import scenes

pytest.importorskip("skimage")
pytest.importorskip("scipy")
import published_oracle

KINDS = [
    "brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "gaussian_blur",
    "gaussian_noise", "glass_blur", "impulse_noise", "jpeg_compression", "motion_blur",
    "pixelate", "saturate", "shot_noise", "snow", "speckle_noise", "zoom_blur",
]  # fmt: skip
EXACT = {
    "brightness", "contrast", "defocus_blur", "gaussian_blur", "jpeg_compression", "pixelate",
    "saturate", "zoom_blur",
}  # fmt: skip
WITHOUT_ORACLE = {"frost", "resolution_loss", "spatter"}
PICTURES = {32: 80, 64: 40, 224: 8}
FEW = 12
SLACK = 0.02


def constants(kind, images, severity):
    module = importlib.import_module(f"clearsight.robust.corruptions.{kind}")
    small = getattr(module, "SMALL", None)
    return published(
        images,
        severity,
        getattr(module, "SIDE_32", small),
        getattr(module, "SIDE_64", small),
        module.SIDE_224,
    )


def distortions(images, changed):
    """The mean absolute change of every picture, in grey levels."""
    return np.abs(changed.astype(int) - images).mean(axis=(1, 2, 3))


def compared(kind, side, severity, n=None, ours=None):
    images = scenes(n or PICTURES[side], side, side, seed=side + severity)
    ours = CORRUPTIONS.load(kind.replace("_", "-"))(images, ours or severity, 1)
    theirs = published_oracle.corrupted(kind, images, constants(kind, images, severity), 2)
    return images, ours, theirs


def too_far(kind, images, ours, theirs):
    """Whether mean distortions differ by more than 2 % and, where drawn anew, by more than luck.

    Luck is three standard errors of the difference, picture by picture; cutting levels to whole
    numbers explains 0.06 of them.
    """
    wanted = distortions(images, theirs)
    more = distortions(images, ours) - wanted
    luck = 0.0 if kind in EXACT else 3 * more.std(ddof=1) / len(more) ** 0.5
    return abs(more.mean()) > SLACK * wanted.mean() + luck + 0.06


def check(kind, side, severity, n=None):
    images, ours, theirs = compared(kind, side, severity, n)
    if kind in EXACT:
        apart = np.abs(ours.astype(int) - theirs)
        # doubled saturation gives whole numbers, which float64 leaves a hair below: cut, 1 less
        assert apart.mean() <= (0.2 if kind == "saturate" else 0.15)
        assert np.percentile(apart, 99.9) <= 2
    assert not too_far(kind, images, ours, theirs)


def test_every_kind_is_compared_or_known_not_to_be():
    keys = {key.replace("-", "_") for key in CORRUPTIONS.keys()}  # noqa: SIM118
    assert keys == {*KINDS, *WITHOUT_ORACLE}
    groups = [CORRUPTIONS.load(key).group for key in CORRUPTIONS.keys()]  # noqa: SIM118
    assert (groups.count("published"), groups.count("extra")) == (15, 4)


@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"fog", "glass_blur"}))
def test_small_pictures_are_distorted_as_published(kind, severity):
    check(kind, 32, severity, n=FEW if kind in EXACT else None)


@pytest.mark.parametrize("kind", ["fog", "glass_blur"])
def test_slow_oracles_agree_on_few_pictures(kind):
    check(kind, 32, 5, n=24)


@pytest.mark.slow
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("side", [32, 64, 224])
@pytest.mark.parametrize("kind", KINDS)
def test_all_sizes_and_severities_are_distorted_as_published(kind, side, severity):
    check(kind, side, severity)


@pytest.mark.parametrize(
    ("kind", "side", "severity", "wrong"),
    [("brightness", 32, 2, 3), ("gaussian_noise", 32, 5, 4), ("shot_noise", 32, 3, 4)],
)
def test_another_severity_is_found_out(kind, side, severity, wrong):
    assert too_far(kind, *compared(kind, side, severity, ours=wrong))
    assert not too_far(kind, *compared(kind, side, severity))


def test_constants_are_those_of_the_nearest_published_size():
    for side, expected in ((1, "a"), (28, "a"), (45, "a"), (46, "b"), (119, "b"), (120, "c")):
        images = np.zeros((1, side, 2 * side, 3), np.uint8)
        assert published(images, 1, "a....", "b....", "c....") == expected
    assert [constants("gaussian_noise", scenes(1, side, side), 5) for side in (32, 64, 224)] == [
        0.10, 0.18, 0.38,
    ]  # fmt: skip
    assert constants("fog", scenes(1, 224, 224), 3) == (2.5, 1.7)
    assert constants("jpeg_compression", scenes(1, 32, 32), 5) == 40


def test_severity_out_of_range_is_refused_when_a_filter_is_made():
    with pytest.raises(UsageError, match=r"1 .slight. to 5"):
        CORRUPTIONS.load("fog").at(6)


def test_a_filter_is_the_distortion_at_one_severity():
    images = scenes(3, 28, 28, 1)
    fog = CORRUPTIONS.load("fog")
    assert np.array_equal(fog.at(2)(images, 7), fog(images, 2, 7))
    assert not np.array_equal(fog.at(2)(images, 7), fog.at(2)(images, 8))
