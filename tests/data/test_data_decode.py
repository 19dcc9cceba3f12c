import functools
import io
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from clearsight.core.errors import ImageError
from clearsight.data.decode import Limits, decode, read_header, sniff

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
WIDE = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
SMOOTH = np.stack(np.meshgrid(np.arange(0, 240, 5), np.arange(0, 200, 5)) * 2, 2)[..., :3].astype(
    np.uint8
)


def encode(image, image_format, **options):
    stream = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(stream, image_format, **options)
    return stream.getvalue()


def stack(grey):
    return np.repeat(grey[:, :, None], 3, axis=2)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *extra, pixels=b""):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    middle = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(middle)


def refused(encoded, **limits):
    with pytest.raises(ImageError) as caught:
        decode(encoded, **limits)
    return caught.value.reason


PALETTE = Image.fromarray(RGB).quantize(16)
LOSSLESS = {
    "png": (encode(RGB, "PNG"), RGB),
    "png grey": (encode(GREY, "PNG"), stack(GREY)),
    "png 16": (encode(WIDE, "PNG"), stack((WIDE >> 8).astype(np.uint8))),
    "png palette": (encode(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
    "png 1 bit": (encode(Image.fromarray(GREY > 99), "PNG"), stack((GREY > 99) * np.uint8(255))),
    "png interlaced off, LA": (encode(Image.fromarray(GREY).convert("LA"), "PNG"), stack(GREY)),
    "tiff": (encode(RGB, "TIFF"), RGB),
    "tiff lzw": (encode(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "tiff 16": (encode(WIDE, "TIFF"), stack((WIDE >> 8).astype(np.uint8))),
    "tiff 16 big endian": (
        encode(WIDE.astype(">u2"), "TIFF"),
        stack((WIDE >> 8).astype(np.uint8)),
    ),
    "tiff 16 white is zero": (
        encode(WIDE, "TIFF").replace(
            struct.pack("<HHII", 262, 3, 1, 1), struct.pack("<HHII", 262, 3, 1, 0)
        ),
        stack(255 - (WIDE >> 8).astype(np.uint8)),
    ),
    "tiff second page": (
        encode(RGB, "TIFF", save_all=True, append_images=[Image.fromarray(RGB[::-1])]),
        RGB,
    ),
    "gif": (encode(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB"))),
    "gif second frame": (
        encode(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(180)]),
        np.asarray(PALETTE.convert("RGB")),
    ),
    "webp": (encode(RGB, "WEBP", lossless=True), RGB),
    "webp alpha": (encode(Image.fromarray(RGB).convert("RGBA"), "WEBP", lossless=True), RGB),
    "webp second frame": (
        encode(
            RGB, "WEBP", lossless=True, save_all=True, append_images=[Image.fromarray(RGB[::-1])]
        ),
        RGB,
    ),
    "bmp": (encode(RGB, "BMP"), RGB),
    "bmp grey": (encode(GREY, "BMP"), stack(GREY)),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_pictures_keep_their_pixels(name):
    encoded, expected = LOSSLESS[name]
    pixels = decode(encoded)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, expected)
    header = read_header(encoded)
    assert (header.height, header.width) == expected.shape[:2]


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (SMOOTH, {}),
        (SMOOTH, {"progressive": True}),
        (SMOOTH, {"keep_rgb": True}),
        (SMOOTH[:, :, 0], {}),
        (Image.fromarray(SMOOTH).convert("CMYK"), {}),
    ],
    ids=["baseline", "progressive", "rgb", "grey", "cmyk"],
)
def test_jpeg_is_close_to_what_was_saved(image, options):
    pixels = decode(encode(image, "JPEG", quality=98, subsampling=0, **options))
    expected = image.convert("RGB") if isinstance(image, Image.Image) else image
    expected = np.asarray(expected) if np.ndim(expected) == 3 else stack(expected)
    assert np.abs(pixels.astype(int) - expected).max() <= 6


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_transparency_lies_over_white(alpha):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 3] = alpha
    for image_format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert abs(int(decode(encode(rgba, image_format, **options))[0, 0, 0]) - (255 - alpha)) <= 1


@pytest.mark.parametrize(
    "encoded",
    [
        encode(GREY, "PNG", transparency=int(GREY[0, 0])),
        encode(RGB, "PNG", transparency=tuple(map(int, RGB[0, 0]))),
        encode(WIDE, "PNG", transparency=int(WIDE[0, 0])),
        encode(PALETTE, "PNG", transparency=PALETTE.getpixel((0, 0))),
        encode(PALETTE, "GIF", transparency=PALETTE.getpixel((0, 0))),
    ],
    ids=["grey", "rgb", "16 bit", "palette", "gif"],
)
def test_transparent_colour_becomes_white(encoded):
    assert decode(encoded)[0, 0].tolist() == [255, 255, 255]


def _with_orientation(image, orientation, image_format, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image, image_format, exif=exif, **options)


# Exif 2.32: what must be done to the stored picture to see it upright
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 98, "subsampling": 0}),
    ],
    ids=["png", "tiff", "tiff lzw", "webp", "jpeg"],
)
def test_exif_orientation_is_applied(orientation, image_format, options):
    pixels = decode(_with_orientation(SMOOTH, orientation, image_format, **options))
    expected = UPRIGHT[orientation](SMOOTH)
    assert pixels.shape == expected.shape
    tolerance = 6 if image_format == "JPEG" else 0
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


def test_orientation_of_a_cmyk_jpeg_and_nonsense_orientation():
    cmyk = Image.fromarray(SMOOTH).convert("CMYK")
    assert decode(_with_orientation(cmyk, 6, "JPEG")).shape[:2] == SMOOTH.shape[1::-1]
    assert decode(_with_orientation(SMOOTH, 9, "JPEG")).shape == SMOOTH.shape
    assert decode(_with_orientation(SMOOTH, 0, "PNG")).shape == SMOOTH.shape


def test_damaged_jpegs_are_refused_and_harmless_padding_is_not():
    whole = encode(SMOOTH, "JPEG")
    padded = whole[:-2] + b"\0abc" + whole[-2:]
    for cut in (1, 2, 40, len(whole) // 2, len(whole) - 4):
        assert refused(whole[:-cut]) == "undecodable"
    np.testing.assert_array_equal(decode(padded), decode(whole))
    np.testing.assert_array_equal(decode(whole + b"trailer" * 99), decode(whole))


@pytest.mark.parametrize("name", ["png", "tiff", "tiff lzw", "gif", "webp", "bmp"])
def test_truncated_files_are_refused(name):
    encoded = LOSSLESS[name][0]
    keep = len(encoded) // 2 if name != "tiff" else 150
    assert refused(encoded[:keep]) == "undecodable"


def test_reasons():
    assert refused(b"") == "empty"
    assert refused(b"hello") == "format"
    assert refused(b"BM is how this text begins, and it goes on") == "format"
    assert refused(b"%PDF-1.7") == "format"
    assert refused(encode(RGB, "PPM")) == "format"
    assert refused(encode(RGB, "PNG"), limits=Limits(max_bytes=100)) == "bytes"
    assert refused(encode(RGB, "PNG"), limits=Limits(max_pixels=599)) == "pixels"
    assert decode(encode(RGB, "PNG"), limits=Limits(max_pixels=600)).shape == RGB.shape
    assert refused(encode(GREY.astype(np.float32), "TIFF")) == "undecodable"
    assert refused(encode(GREY.astype(np.int32), "TIFF")) == "undecodable"
    assert refused(png(0, 5)) == "undecodable"
    assert [sniff(LOSSLESS[name][0][:32]) for name in ("png", "tiff", "gif", "webp", "bmp")] == [
        "png",
        "tiff",
        "gif",
        "webp",
        "bmp",
    ]


def _tiff_pages(count):
    pages = []
    for page in range(count):
        behind = 12 + (2 + 9 * 12 + 4) * (page + 1) if page < count - 1 else 0
        tags = [(256, 2), (257, 2), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 2)]
        entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, 4)]]
        pages.append(struct.pack("<H", 9) + b"".join(entries) + struct.pack("<I", behind))
    return b"II*\0" + struct.pack("<I", 12) + b"\1\2\3\4" + b"".join(pages)


@functools.cache
def _bombs():
    inflates = zlib.compress(bytes(1 << 26), 9)
    pixels = zlib.compress(bytes(20 * 91))
    small = [chunk(b"zTXt", b"k%d\0\0" % i + zlib.compress(bytes(900_000), 9)) for i in range(200)]
    gif = encode(PALETTE, "GIF")
    colours = 13 + (3 << (gif[10] & 7) + 1)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    scans = encode(SMOOTH, "JPEG", progressive=True)
    last = scans.rindex(b"\xff\xda")
    huge = bytearray(encode(SMOOTH, "JPEG"))
    start = huge.index(b"\xff\xc0") + 5
    huge[start : start + 4] = struct.pack(">HH", 60000, 60000)
    return {
        "png 60000": (png(60000, 60000), "pixels"),
        "jpeg 60000": (bytes(huge), "pixels"),
        "zTXt": (png(30, 20, chunk(b"zTXt", b"k\0\0" + inflates), pixels=pixels), "bytes"),
        "iTXt": (
            png(30, 20, chunk(b"iTXt", b"k\0\1\0\0\0" + inflates), pixels=pixels),
            "bytes",
        ),
        "iCCP": (png(30, 20, chunk(b"iCCP", b"k\0\0" + inflates), pixels=pixels), "bytes"),
        "many zTXt": (png(30, 20, *small, pixels=pixels), "bytes"),
        "many chunks": (png(30, 20, *[chunk(b"tEXt", b"k\0v")] * 200_000), "undecodable"),
        "jpeg scans": (scans[:-2] + scans[last:-2] * 2000 + scans[-2:], "pixels"),
        "gif comments": (
            gif[:colours] + b"\x21\xfe\x01a\0" * 10**6 + gif[colours:],
            "undecodable",
        ),
        "idat": (png(30, 20, pixels=inflates), None),
        "gif frames": (gif[:-1] + frame * 10**6 + b";", None),
        "tiff pages": (_tiff_pages(10**5), None),
    }


BOMBS = [
    "png 60000",
    "jpeg 60000",
    "zTXt",
    "iTXt",
    "iCCP",
    "many zTXt",
    "many chunks",
    "jpeg scans",
    "gif comments",
    "idat",
    "gif frames",
    "tiff pages",
]


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_little(name):
    encoded, reason = _bombs()[name]
    started = time.process_time()
    if reason:
        assert refused(encoded) == reason
    else:
        assert decode(encoded).size < 2000
    assert time.process_time() - started < 0.5


def test_bombs_take_no_memory():
    code = (
        "import resource, sys, zlib, struct\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import test_data_decode as t\n"
        "bombs = t._bombs(); t.decode(t.encode(t.RGB, 'PNG'))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for encoded, _ in bombs.values():\n"
        "    try: t.decode(encoded)\n"
        "    except t.ImageError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    here = str(__file__).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", code, here], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 64 * 1024, "kilobytes"


def test_reduced_decoding_never_goes_below_the_asked_size():
    photo = encode(np.asarray(Image.fromarray(SMOOTH).resize((801, 403))), "JPEG")
    assert decode(photo, min_size=(100, 100)).shape == (101, 201, 3)
    assert decode(photo, min_size=(101, 200)).shape == (101, 201, 3)
    assert decode(photo, min_size=(102, 200)).shape == (202, 401, 3)
    assert decode(photo, min_size=(400, 10)).shape == (403, 801, 3)
    turned = _with_orientation(Image.fromarray(SMOOTH).resize((801, 403)), 6, "JPEG")
    assert decode(turned, min_size=(200, 100)).shape == (201, 101, 3)


def _mutants(count):
    originals = [encoded for encoded, _ in LOSSLESS.values()]
    originals += [encode(SMOOTH, "JPEG"), encode(SMOOTH, "JPEG", progressive=True)]
    originals += [_with_orientation(SMOOTH, 6, "JPEG"), _with_orientation(SMOOTH, 6, "PNG")]
    rng = np.random.default_rng(11)
    for number in range(count):
        data = bytearray(originals[number % len(originals)])
        kind = number // len(originals) % 4
        if kind == 0:
            for _ in range(int(rng.integers(1, 12))):
                data[int(rng.integers(0, len(data)))] = int(rng.integers(0, 256))
        elif kind == 1:
            del data[int(rng.integers(0, len(data))) :]
        elif kind == 2:
            other = originals[int(rng.integers(0, len(originals)))]
            data[int(rng.integers(0, len(data))) :] = other[int(rng.integers(0, len(other))) :]
        else:  # in the header, where the structure is
            for _ in range(3):
                data[int(rng.integers(0, min(80, len(data))))] = int(rng.choice([0, 1, 127, 255]))
        yield bytes(data)


def test_mutated_pictures_give_pixels_or_an_image_error():
    outcomes = {"pixels": 0, "error": 0}
    limits = Limits(max_pixels=4_000_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mutant in _mutants(6900):
            try:
                pixels = decode(mutant, limits)
            except ImageError:
                outcomes["error"] += 1
            else:
                assert pixels.dtype == np.uint8
                assert pixels.ndim == 3
                assert pixels.shape[2] == 3
                outcomes["pixels"] += 1
    assert min(outcomes.values()) > 200, "the mutations must reach both outcomes"


def test_bombs_are_all_tried():
    assert set(BOMBS) == set(_bombs())


def test_pillow_warnings_do_not_leak():
    """Negative control: Pillow does warn about this file."""
    odd = bytearray(encode(SMOOTH, "TIFF", dpi=(72, 72)))
    position = bytes(odd).index(struct.pack("<HHI", 282, 5, 1))
    odd[position + 8 : position + 12] = struct.pack("<I", 0x7FFFFFF0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(bytes(odd))).load()
    assert caught
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(decode(bytes(odd)), SMOOTH)
    assert not caught


def test_many_threads_get_the_same_pixels():
    encoded = [value for value, _ in LOSSLESS.values()] + [encode(SMOOTH, "JPEG")]
    expected = [decode(item) for item in encoded]
    wrong = []

    def work():
        for _ in range(5):
            for item, pixels in zip(encoded, expected, strict=True):
                if not np.array_equal(decode(item), pixels):
                    wrong.append(item)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
