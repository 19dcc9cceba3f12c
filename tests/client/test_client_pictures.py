"""What goes out: small pictures as they are, large ones smaller, upright, without metadata."""

import io

import numpy as np
import pytest
from client_support import encode as encoded_as
from client_support import jpeg, photo
from PIL import Image

from clearsight.client.pictures import encode, listed, shrink
from clearsight.core.errors import ImageError, UsageError
from clearsight.data.decode import decode

SIZE = (32, 32)


def opened(content):
    return Image.open(io.BytesIO(content))


def test_a_large_picture_gets_smaller_and_keeps_three_times_the_input():
    content = jpeg(photo(1200, 800))
    small = encode(content, SIZE)
    assert opened(small).size == (144, 96)
    assert len(small) < len(content)


@pytest.mark.parametrize(("width", "height"), [(801, 777), (3000, 170), (170, 3000), (999, 641)])
def test_the_short_side_never_falls_below(width, height):
    image = shrink(photo(width, height), 64)
    assert min(image.shape[:2]) == 64
    assert image.shape[1] / image.shape[0] == pytest.approx(width / height, rel=0.02)


def test_without_a_size_nothing_changes():
    content = jpeg(photo(1200, 800))
    assert encode(content, None) == content


def test_small_ones_go_as_they_are():
    content = jpeg(photo(200, 150))
    assert encode(content, SIZE) == content
    large = encoded_as(photo(600, 500), "PNG")
    assert encode(large, (250, 250)) == large


def test_what_cannot_be_read_goes_as_it_is():
    assert encode(b"no picture" * 9999, SIZE) == b"no picture" * 9999


def test_a_broken_large_one_is_told_here():
    with pytest.raises(ImageError) as caught:
        encode(jpeg(photo(1200, 800))[:-30000], SIZE)
    assert caught.value.reason == "undecodable"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_upright_and_says_nothing_more(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "the secret garden"
    content = jpeg(photo(1200, 800), exif=exif.tobytes())
    assert b"secret" in content
    small = encode(content, SIZE)
    assert b"secret" not in small
    assert not opened(small).getexif()
    upright = decode(content)
    assert opened(small).size == ((144, 96) if orientation < 5 else (96, 144))
    expected = shrink(upright, 96).astype(int)
    assert np.abs(decode(small).astype(int) - expected).mean() < 4


def test_a_turn_that_is_left_out_would_be_seen():
    content = jpeg(photo(1200, 800))
    expected = shrink(decode(content), 96).astype(int)
    turned = decode(encode(content, SIZE))[::-1].astype(int)
    assert np.abs(turned - expected).mean() > 4


def test_transparent_and_deep_pictures():
    rgba = np.dstack([photo(900, 700), np.full((700, 900), 128, np.uint8)])
    content = encoded_as(rgba, "PNG")
    small = decode(encode(content, SIZE)).astype(int)
    assert np.abs(small - shrink(decode(content), 96).astype(int)).mean() < 4


def test_arrays():
    pixels = photo(50, 40)
    assert np.array_equal(decode(encode(pixels)), pixels)
    grey = pixels[:, :, 0]
    assert np.array_equal(decode(encode(grey))[:, :, 1], grey)
    assert opened(encode(photo(1200, 800), SIZE)).size == (144, 96)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_picture(array):
    with pytest.raises(UsageError, match="uint8"):
        encode(array)


def test_a_missing_file(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        encode(tmp_path / "none.jpg")


def test_one_or_several():
    pixels = photo(5, 4)
    assert [
        listed(item)[0] for item in (b"x", "x.jpg", pixels, [b"x"], np.stack([pixels] * 2))
    ] == [
        False,
        False,
        False,
        True,
        True,
    ]
