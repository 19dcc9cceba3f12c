"""What augmentations do to pixels, that chains keep their order, and what is refused."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from augment_jobs import job_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from clearsight.core.errors import ConfigError, UnknownKeyError
from clearsight.learn.affine import (
    _resampled_by_opencv,
    _resampled_by_torch,
    identities,
    resample,
    rotations,
)
from clearsight.learn.augment import AUGMENTS, Chain, build_augment
from clearsight.learn.augment.crop import Crop
from clearsight.learn.augment.flip import Flip
from clearsight.learn.augment.random_erasing import RandomErasing
from clearsight.learn.augment.rotate import Rotate
from clearsight.learn.augment.scale import Scale
from clearsight.learn.mixes import MIXES, build_mix
from clearsight.learn.mixes.cutmix import Cutmix
from clearsight.learn.mixes.mixup import Mixup
from clearsight.learn.pixel_values import (
    autocontrast,
    equalize,
    posterize,
    recolour,
    sharpen,
    solarize,
)
from clearsight.learn.training import Choice
from clearsight.testing.augment_contract import apply, pictures

SHAPES = ((4, 12, 12, 1), (3, 9, 17, 3))


@pytest.fixture
def job(tmp_path):
    """Return a job with pictures of a kind; see `job_of`."""
    return partial(job_of, work=tmp_path)


@pytest.fixture
def smooth():
    """Colour pictures without noise: resampling differs little between implementations."""
    y, x = np.mgrid[:20, :31] / 31
    planes = [np.sin(7 * x + 3 * y), np.cos(5 * x * y), np.sin(9 * y)]
    image = np.stack([127 + 120 * plane for plane in planes], axis=2).astype(np.uint8)
    return torch.from_numpy(np.stack([image, image[::-1], 255 - image]))


def as_pillow(change, images):
    modes = {1: "L", 3: "RGB"}
    changed = []
    for image in images.numpy():
        picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
        assert picture.mode == modes[image.shape[2]]
        changed.append(np.asarray(change(picture)).reshape(image.shape))
    return torch.from_numpy(np.stack(changed))


@settings(max_examples=40, deadline=None)
@given(
    key=st.sampled_from(AUGMENTS.keys()),
    n=st.integers(1, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_any_shape_is_kept(key, n, height, width, channels, seed):
    images = pictures((n, height, width, channels))
    before = images.clone()
    changed = apply(AUGMENTS.load(key), images, seed)
    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(images, before)


@settings(max_examples=40, deadline=None)
@given(
    key=st.sampled_from(MIXES.keys()),
    n=st.integers(1, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_any_shape_is_mixed(key, n, height, width, channels, seed):
    images = pictures((n, height, width, channels))
    mixed = MIXES.load(key)(MIXES.load(key).Config())(images, torch.Generator().manual_seed(seed))
    assert mixed.images_nhwc.shape == images.shape
    assert 0 <= mixed.share <= 1
    assert sorted(mixed.partners.tolist()) == list(range(n))


@pytest.mark.parametrize("shape", SHAPES)
def test_resampling_with_no_move_is_exact(shape):
    images = pictures(shape)
    assert torch.equal(resample(images, identities(len(images))), images)
    assert torch.equal(_resampled_by_torch(images, identities(len(images))), images)


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_is_exact(shape):
    images = pictures(shape)
    for options, axes in (
        ({"left_right_share": 1.0}, (2,)),
        ({"left_right_share": 0.0, "up_down_share": 1.0}, (1,)),
        ({"left_right_share": 1.0, "up_down_share": 1.0}, (1, 2)),
    ):
        flipped = apply(Flip, images, config=Flip.Config(**options))
        assert torch.equal(flipped, images.flip(axes))


def test_flip_takes_its_share():
    images = pictures((400, 3, 3, 1))
    flipped = apply(Flip, images, config=Flip.Config(left_right_share=0.25))
    share = float((flipped != images).flatten(1).any(1).float().mean())
    assert 0.18 < share < 0.32


def test_quarter_turns_are_exact_and_counter_clockwise():
    images = pictures((4, 12, 12, 3))
    turned = resample(images, rotations(torch.tensor([0.0, 90, 180, 270])))
    for quarters, (before, after) in enumerate(zip(images, turned, strict=True)):
        assert torch.equal(after, torch.rot90(before, quarters, (0, 1)))


def test_rotation_is_within_its_degrees():
    marker = torch.zeros(64, 41, 41, 1, dtype=torch.uint8)
    marker[:, 19:22, 36:39] = 255  # straight to the right of the centre
    turned = apply(Rotate, marker, config=Rotate.Config(degrees=30)).float()[..., 0]
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    mass = turned.sum((1, 2))
    angle = torch.rad2deg(torch.atan2(-(turned * y).sum((1, 2)), (turned * x).sum((1, 2))))
    assert bool((mass > 0).all())
    assert float(angle.abs().max()) < 31
    assert float(angle.min()) < -20
    assert float(angle.max()) > 20


def test_both_resamplers_agree(smooth):
    random = torch.Generator().manual_seed(0)
    matrices = identities(3) + 0.1 * torch.randn(3, 3, 3, generator=random, dtype=torch.float64)
    matrices[:, 2] = torch.tensor([0.0, 0.0, 1.0])
    matrices[:, :2, 2] *= 40
    one, two = _resampled_by_opencv(smooth, matrices), _resampled_by_torch(smooth, matrices)
    apart = (one.int() - two.int()).abs().float()
    assert float(apart.mean()) < 1  # OpenCV takes places to 1/32 of a pixel
    assert float(apart.max()) < 30


def test_borders_are_reflected_not_black():
    images = torch.full((8, 16, 16, 1), 200, dtype=torch.uint8)
    for augment in (Rotate, Scale, Crop):
        assert int(apply(augment, images).min()) == 200


def test_crop_keeps_to_its_area():
    ramp = torch.arange(200, dtype=torch.uint8)[None, None, :, None].expand(64, 200, 200, 1)
    config = Crop.Config(smallest_area_share=0.5, largest_stretch=1)
    cut = apply(Crop, ramp.contiguous(), config=config)[:, 100, :, 0].float()
    shares = (cut[:, -1] - cut[:, 0] + 1) / 200
    assert float(shares.min()) >= 0.5**0.5 - 0.02
    assert float(shares.max()) <= 1
    assert float(shares.max() - shares.min()) > 0.2


def test_erasing_takes_its_share_of_pictures_and_area():
    images = torch.zeros(600, 32, 32, 1, dtype=torch.uint8)
    config = RandomErasing.Config(picture_share=0.5, largest_area_share=0.3)
    area = (apply(RandomErasing, images, config=config) > 0).float().mean((1, 2, 3))
    assert 0.42 < float((area > 0).float().mean()) < 0.58
    assert float(area.max()) < 0.36


@pytest.mark.parametrize("shape", SHAPES)
def test_pixel_changes_are_those_of_pillow(shape):
    images = pictures(shape) // 2 + 40
    n = len(images)
    apart = autocontrast(images).int() - as_pillow(ImageOps.autocontrast, images).int()
    assert set(apart.unique().tolist()) <= {0, 1}  # Pillow cuts fractions off
    assert torch.equal(equalize(images), as_pillow(ImageOps.equalize, images))
    for bits in (1, 4, 7):
        wanted = as_pillow(lambda picture, bits=bits: ImageOps.posterize(picture, bits), images)
        assert torch.equal(posterize(images, torch.full((n,), bits)), wanted)
    for threshold in (0, 100, 256):
        wanted = as_pillow(lambda picture, t=threshold: ImageOps.solarize(picture, t), images)
        assert torch.equal(solarize(images, torch.full((n,), threshold)), wanted)


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.6])
def test_enhancements_are_those_of_pillow(smooth, factor):
    n, one = len(smooth), torch.ones(len(smooth))
    amount = torch.full((n,), factor)
    for ours, theirs, bound in (
        (recolour(smooth, amount, one), ImageEnhance.Brightness, 1),
        (recolour(smooth, one, amount), ImageEnhance.Contrast, 2),
        (recolour(smooth, one, one, saturation=amount), ImageEnhance.Color, 2),
    ):
        wanted = as_pillow(lambda picture, by=theirs: by(picture).enhance(factor), smooth)
        assert int((ours.int() - wanted.int()).abs().max()) <= bound
    inside = (slice(None), slice(1, -1), slice(1, -1))  # Pillow leaves the outermost pixels alone
    wanted = as_pillow(lambda picture: ImageEnhance.Sharpness(picture).enhance(factor), smooth)
    apart = (sharpen(smooth, amount)[inside].int() - wanted[inside].int()).abs()
    assert int(apart.max()) <= 1


def test_hue_turns_around_the_circle():
    images = pictures((2, 6, 6, 3)) // 2 + 60
    one = torch.ones(2)
    same = recolour(images, one, one, hue_degrees=360 * one)
    assert int((same.int() - images.int()).abs().max()) <= 1
    red = torch.tensor([200, 60, 60], dtype=torch.uint8).expand(2, 4, 4, 3).contiguous()
    turned = recolour(red, one, one, hue_degrees=torch.tensor([120.0, -120.0]))[:, 0, 0].int()
    assert sorted(turned.argmax(1).tolist()) == [1, 2]  # one becomes green, the other blue
    grey = torch.full((2, 4, 4, 3), 90, dtype=torch.uint8)
    assert torch.equal(recolour(grey, one, one, hue_degrees=90 * one), grey)


def test_a_chain_keeps_its_order():
    images = pictures((6, 16, 16, 3))
    first, second = Rotate(Rotate.Config(degrees=40)), Scale(Scale.Config(largest_factor=2))
    erase = RandomErasing(RandomErasing.Config(picture_share=1.0))
    for one, two in ((first, Crop(Crop.Config())), (second, erase), (first, erase)):
        numbers = torch.arange(len(images))
        ahead, behind = (
            Chain(steps)(images, numbers, 0, torch.Generator().manual_seed(4))
            for steps in ((one, two), (two, one))
        )
        assert not torch.equal(ahead, behind)


def test_neighbouring_moves_are_one_resampling(smooth):
    turn, back = rotations(torch.full((3,), 23.0)), rotations(torch.full((3,), -23.0))

    class Turn:
        def __init__(self, matrices):
            self.given = matrices

        def matrices(self, n, height, width, random):
            return self.given

    numbers, random = torch.arange(3), torch.Generator()
    assert torch.equal(Chain([Turn(turn), Turn(back)])(smooth, numbers, 0, random), smooth)
    assert not torch.equal(resample(resample(smooth, turn), back), smooth)  # blurs twice


def test_a_chain_moves_as_its_steps_do_one_by_one(smooth):
    steps = [Scale(Scale.Config(largest_factor=1.3)), Crop(Crop.Config())]
    numbers = torch.arange(3)
    together = Chain(steps)(smooth, numbers, 0, torch.Generator().manual_seed(2))
    random, apart = torch.Generator().manual_seed(2), smooth
    for step in steps:
        apart = step(apart, numbers, 0, random)
    assert float((together.int() - apart.int()).abs().float().mean()) < 8


def test_mixup_blends_as_told():
    images = pictures((5, 8, 8, 3))
    mixed = Mixup(Mixup.Config(alpha=1.0))(images, torch.Generator().manual_seed(3))
    own, other = images.double(), images[mixed.partners].double()
    wanted = mixed.share * own + (1 - mixed.share) * other
    assert float((mixed.images_nhwc - wanted).abs().max()) <= 0.5 + 1e-3


def test_cutmix_pastes_a_rectangle():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 20, 30, 1)
    for seed in range(20):
        mixed = Cutmix(Cutmix.Config())(images, torch.Generator().manual_seed(seed))
        foreign = mixed.images_nhwc[..., 0] != images[..., 0]
        for picture in foreign[mixed.partners != torch.arange(5)]:
            rows, columns = picture.any(1), picture.any(0)
            assert bool((picture == rows[:, None] & columns[None]).all())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("flip", {"left_right_share": 0}),
        ("rotate", {"degrees": 0}),
        ("rotate", {"degrees": 200}),
        ("scale", {"largest_factor": 1}),
        ("colour", dict.fromkeys(("brightness_share", "contrast_share"), 0)),
        ("colour", {"brightnes_share": 0.1}),
        ("random-erasing", {"fill": "black"}),
        ("augmix", {"chains": 0}),
        ("shift-flip", {"shift": 0, "mirror": False}),
        ("shift-flip", {"seed": 3}),
    ],
)
def test_options_that_do_nothing_or_do_not_exist_are_refused(job, name, options):
    with pytest.raises(ConfigError):
        build_augment([Choice(name=name, options=options)], job("grey"))


def test_an_unknown_name_lists_its_neighbours(job):
    with pytest.raises(UnknownKeyError, match="rotate"):
        build_augment([Choice(name="rotat")], job("grey"))
    with pytest.raises(UnknownKeyError, match="mixup"):
        build_mix("mixu", {})
    with pytest.raises(ConfigError, match="takes no options"):
        build_mix("none", {"alpha": 1})
    assert build_mix("none", {}) is None
    assert build_augment([], job("grey")) is None


def test_colour_of_grey_pictures_is_refused(job):
    for kind in ("grey", "grey in colour"):
        with pytest.raises(ConfigError, match="grey"):
            build_augment([Choice(name="colour", options={"hue_degrees": 20})], job(kind))
        chain = build_augment([Choice(name="colour")], job(kind))
        assert chain.steps[0].config.hue_degrees == 0
        assert chain.steps[0].config.saturation_share == 0
        assert chain.steps[0].config.brightness_share > 0


@pytest.mark.parametrize("registry", [AUGMENTS, MIXES])
def test_the_page_names_every_change_and_option(registry):
    page = Path(__file__).parents[2] / "docs/how-to/change-training-pictures.md"
    text = page.read_text(encoding="utf-8")
    for key in sorted(registry.keys()):
        assert f"`{key}`" in text
        for option in registry.load(key).Config.model_fields:
            assert f"`{option}`" in text, (key, option)
