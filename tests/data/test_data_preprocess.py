import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clearsight.core.nouns import Preprocessing
from clearsight.data.decode import decode
from clearsight.data.preprocess import prepare, prepare_encoded

FITS = ("stretch", "crop", "letterbox")
wanted = st.builds(
    Preprocessing,
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from((1, 3)),
    fit=st.sampled_from(FITS),
    pad_value=st.integers(0, 255),
)
sides = st.integers(1, 70)
quick = settings(max_examples=150, deadline=None)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(image, image_format, **options):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, image_format, **options)
    return stream.getvalue()


def photo(height, width):
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(9 * x / width + k) * np.cos(7 * y / height) for k in range(3)]
    return np.stack(waves, 2).astype(np.uint8)


@quick
@given(wanted, sides, sides)
def test_any_picture_gets_the_asked_shape_and_is_not_changed(preprocessing, height, width):
    image = picture(height, width)
    before = image.copy()
    out = prepare(image, preprocessing)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    assert out.shape == (preprocessing.height, preprocessing.width, preprocessing.channels)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(out, prepare(image, preprocessing))


@quick
@given(wanted, sides, sides, st.integers(0, 255))
def test_one_colour_stays_that_colour(preprocessing, height, width, value):
    out = prepare(np.full((height, width, 3), value, np.uint8), preprocessing)
    allowed = {value, preprocessing.pad_value} if preprocessing.fit == "letterbox" else {value}
    assert set(np.unique(out)) <= allowed
    assert value in out


@quick
@given(wanted, sides, sides)
def test_grey_pictures_stay_grey_and_both_channel_counts_agree(preprocessing, height, width):
    grey = np.repeat(picture(height, width)[:, :, :1], 3, axis=2)
    three = prepare(grey, preprocessing.model_copy(update={"channels": 3}))
    one = prepare(grey, preprocessing.model_copy(update={"channels": 1}))
    np.testing.assert_array_equal(three, np.repeat(one, 3, axis=2))


@quick
@given(sides, sides, st.sampled_from(FITS))
def test_the_right_size_already_is_the_identity(height, width, fit):
    image = picture(height, width)
    same = Preprocessing(height=height, width=width, fit=fit)
    np.testing.assert_array_equal(prepare(image, same), image)


def test_every_grey_level_is_exact():
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    out = prepare(levels, Preprocessing(height=1, width=256, channels=1))
    np.testing.assert_array_equal(out[0, :, 0], np.arange(256))


def test_grey_is_bt_601_luma():
    red_green_blue = np.eye(3, dtype=np.uint8)[None] * 255
    out = prepare(red_green_blue, Preprocessing(height=1, width=3, channels=1))
    np.testing.assert_allclose(out[0, :, 0], [0.299 * 255, 0.587 * 255, 0.114 * 255], atol=0.6)


def test_shrinking_averages_and_enlarging_interpolates():
    image = picture(8, 12)
    blocks = image.reshape(4, 2, 6, 2, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose(prepare(image, Preprocessing(height=4, width=6)), blocks, atol=0.51)
    edge = np.zeros((1, 2, 3), np.uint8)
    edge[0, 1] = 100
    ramp = prepare(edge, Preprocessing(height=1, width=4))[0, :, 0].astype(int)
    np.testing.assert_allclose(ramp, [0, 25, 75, 100], atol=1)


def test_one_axis_shrinks_while_the_other_grows():
    image = picture(64, 4)
    rows = image.reshape(8, 8, 4, 3).astype(float).mean(axis=1)
    out = prepare(image, Preprocessing(height=8, width=8))
    np.testing.assert_allclose(out[:, 0], rows[:, 0], atol=0.51)
    np.testing.assert_allclose(out[:, -1], rows[:, -1], atol=0.51)


def test_fits():
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, 5:15] = 200
    crop = prepare(image, Preprocessing(height=5, width=5, fit="crop"))
    assert (crop == 200).all()
    box = prepare(image, Preprocessing(height=20, width=20, fit="letterbox", pad_value=7))
    assert (box[:5] == 7).all()
    assert (box[15:] == 7).all()
    np.testing.assert_array_equal(box[5:15], image)
    thin = prepare(picture(1, 8), Preprocessing(height=3, width=8, fit="letterbox", pad_value=9))
    assert (thin[[0, 2]] == 9).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(1, 70000), (70000, 1), (3, 40000)])
def test_extreme_shapes(fit, size):
    out = prepare(picture(*size), Preprocessing(height=16, width=16, fit=fit))
    assert out.shape == (16, 16, 3)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(900, 1200), (200, 1600), (1600, 200), (301, 299)])
def test_reduced_decoding_of_a_large_jpeg_changes_next_to_nothing(fit, size):
    encoded = encode(photo(*size), "JPEG", quality=92)
    preprocessing = Preprocessing(height=32, width=32, fit=fit)
    fast = prepare_encoded(encoded, preprocessing).astype(int)
    full = prepare(decode(encoded), preprocessing)
    assert np.abs(fast - full).mean() < 2.5
    if fit == "stretch":  # control: a shift by one pixel would be far more
        shifted = np.roll(fast, 1, axis=int(np.argmax(size)))
        assert np.abs(shifted - full).mean() > 5


def test_everything_but_a_large_jpeg_is_decoded_in_full():
    preprocessing = Preprocessing(height=64, width=64)
    for encoded in (encode(photo(300, 400), "PNG"), encode(photo(200, 250), "JPEG")):
        expected = prepare(decode(encoded), preprocessing)
        np.testing.assert_array_equal(prepare_encoded(encoded, preprocessing), expected)
