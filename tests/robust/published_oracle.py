"""The published corruptions worked out with scikit-image, SciPy and plain loops.

One picture at a time, float64, no OpenCV where the published programs use none; the constants
come from the implementation, and a test of their own pins them.
"""

import io

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import color, util
from skimage.filters import gaussian


def blurred(picture, sigma):
    return gaussian(picture, sigma=sigma, channel_axis=-1)


def gaussian_noise(x, scale, random):
    return x + random.normal(size=x.shape, scale=scale)


def speckle_noise(x, scale, random):
    return x + x * random.normal(size=x.shape, scale=scale)


def shot_noise(x, grains, random):
    return random.poisson(x * grains) / grains


def impulse_noise(x, share, random):
    return util.random_noise(x, mode="s&p", amount=share, rng=random)


def gaussian_blur(x, sigma, random):
    return blurred(x, sigma)


def glass_blur(x, constants, random):
    sigma, reach, rounds = constants
    levels = np.uint8(blurred(x, sigma) * 255)
    height, width = levels.shape[:2]
    for _ in range(rounds):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                across, down = random.integers(-reach, reach, size=2)
                levels[row, column] = levels[row + down, column + across]
    return blurred(levels / 255, sigma)


def defocus_blur(x, constants, random):
    radius, smoothing = constants
    reach, size = (8, 3) if radius <= 8 else (int(radius), 5)
    places = np.arange(-reach, reach + 1)
    disk = (np.add.outer(places**2, places**2) <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (size, size), sigmaX=smoothing)
    return np.stack(
        [ndimage.correlate(x[..., k], kernel, mode="mirror") for k in range(x.shape[2])], axis=-1
    )


def smeared(x, radius, sigma, angle):
    """ImageMagick's motion blur, pixel by pixel, with the border repeated."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    rows, columns = np.indices(x.shape[:2])
    total = np.zeros_like(x)
    for step, weight in enumerate(weights):
        down = int(np.ceil(step * np.sin(np.deg2rad(angle)) - 0.5))
        across = int(np.ceil(step * np.cos(np.deg2rad(angle)) - 0.5))
        total += (
            weight
            * x[
                np.clip(rows + down, 0, x.shape[0] - 1),
                np.clip(columns + across, 0, x.shape[1] - 1),
            ]
        )
    return total


def motion_blur(x, constants, random):
    levels = np.round(smeared(x * 255, *constants, random.uniform(-45, 45)))
    return (levels + 0.25) / 255


def enlarged(x, factor):
    height = x.shape[0]
    cut = int(np.ceil(height / factor))
    start = (height - cut) // 2
    zooms = (factor, factor) + (1,) * (x.ndim - 2)
    large = ndimage.zoom(x[start : start + cut, start : start + cut], zooms, order=1)
    trim = (large.shape[0] - height) // 2
    return large[trim : trim + height, trim : trim + height]


def zoom_blur(x, constants, random):
    factors = np.arange(1, *constants)
    return (x + sum(enlarged(x, factor) for factor in factors)) / (len(factors) + 1)


def snow(x, constants, random):
    mean, spread, size, threshold, radius, sigma, kept = constants
    flakes = enlarged(random.normal(mean, spread, x.shape[:2]), size)
    flakes[flakes < threshold] = 0
    flakes = np.floor(np.clip(flakes, 0, 1) * 255)
    flakes = np.round(smeared(flakes, radius, sigma, random.uniform(-135, -45))) / 255
    grey = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    white = kept * x + (1 - kept) * np.maximum(x, grey * 1.5 + 0.5)
    return white + (flakes + np.rot90(flakes, 2))[..., None]


def fog(x, constants, random):
    density, decay = constants
    size = 1 << (x.shape[0] - 1).bit_length()
    field = np.zeros((size, size))
    step, wibble = size, 100.0
    while step >= 2:
        half = step // 2
        for row in range(0, size, step):
            for column in range(0, size, step):
                corners = [
                    field[(row + down) % size, (column + across) % size]
                    for down in (0, step)
                    for across in (0, step)
                ]
                drawn = wibble * random.uniform(-wibble, wibble)
                field[row + half, column + half] = np.mean(corners) + drawn
        for row in range(0, size, half):
            first = half if (row // half) % 2 == 0 else 0
            for column in range(first, size, step):
                around = [
                    field[(row + down) % size, (column + across) % size]
                    for down, across in ((half, 0), (-half, 0), (0, half), (0, -half))
                ]
                drawn = wibble * random.uniform(-wibble, wibble)
                field[row, column] = np.mean(around) + drawn
        step, wibble = half, wibble / decay
    field = (field - field.min()) / (field.max() - field.min())
    brightest = x.max()
    veiled = x + density * field[: x.shape[0], : x.shape[1], None]
    return veiled * brightest / (brightest + density)


def brightness(x, added, random):
    values = color.rgb2hsv(x)
    values[..., 2] = np.clip(values[..., 2] + added, 0, 1)
    return color.hsv2rgb(values)


def saturate(x, constants, random):
    factor, added = constants
    values = color.rgb2hsv(x)
    values[..., 1] = np.clip(values[..., 1] * factor + added, 0, 1)
    return color.hsv2rgb(values)


def contrast(x, kept, random):
    mean = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * kept + mean


def jpeg_compression(x, quality, random):
    stream = io.BytesIO()
    Image.fromarray(np.uint8(np.round(x * 255))).save(stream, "JPEG", quality=quality)
    return (np.asarray(Image.open(stream)) + 0.25) / 255


def pixelate(x, share, random):
    height, width = x.shape[:2]
    picture = Image.fromarray(np.uint8(np.round(x * 255)))
    small = picture.resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return (np.asarray(small.resize((width, height), Image.Resampling.BOX)) + 0.25) / 255


def elastic_transform(x, constants, random):
    strength, width, stretch = constants
    size = np.array(x.shape[:2], np.float32)
    centre, reach = size // 2, min(x.shape[:2]) // 3
    points = np.float32([centre + reach, [centre[0] + reach, centre[1] - reach], centre - reach])
    moved = points + random.uniform(-stretch, stretch, points.shape).astype(np.float32)
    affine = np.vstack([cv2.getAffineTransform(points, moved), [0, 0, 1]])
    back = np.linalg.inv(affine)
    rows, columns = np.indices(x.shape[:2]).astype(float)
    across = back[0, 0] * columns + back[0, 1] * rows + back[0, 2]
    down = back[1, 0] * columns + back[1, 1] * rows + back[1, 2]
    stretched = np.stack(
        [
            ndimage.map_coordinates(x[..., k], [down, across], order=1, mode="mirror")
            for k in range(x.shape[2])
        ],
        axis=-1,
    )
    fields = [
        strength * gaussian(random.uniform(-1, 1, x.shape[:2]), width, mode="reflect", truncate=3)
        for _ in range(2)
    ]
    return np.stack(
        [
            ndimage.map_coordinates(
                stretched[..., k], [rows + fields[1], columns + fields[0]], order=1, mode="reflect"
            )
            for k in range(x.shape[2])
        ],
        axis=-1,
    )


def corrupted(kind, images, constants, seed):
    """Return pictures as the published programs would store them, and the draws of this oracle."""
    random = np.random.default_rng(seed)
    change = globals()[kind]
    return np.stack(
        [np.uint8(np.clip(change(image / 255, constants, random), 0, 1) * 255) for image in images]
    )
