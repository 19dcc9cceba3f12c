"""Dense SIFT and SURF agree with OpenCV's and mahotas's on the same upright windows."""

from __future__ import annotations

import cv2
import mahotas.features.surf as mahotas_surf
import numpy as np
import pytest
from skimage import data

from clearsight.core.nouns import Preprocessing
from clearsight.learn.descriptors.sift import Sift
from clearsight.learn.descriptors.surf import Surf
from clearsight.testing.descriptor_contract import described

OPENCV_SMOOTHING = float(np.sqrt(1.6**2 - 0.5**2))
PHOTOS = {
    "astronaut": data.astronaut()[100:197, 180:277],
    "cat": data.chelsea()[60:157, 120:217],
    "coffee": data.coffee()[100:197, 200:297],
}


def grey(photo: str) -> np.ndarray:
    return cv2.cvtColor(PHOTOS[photo], cv2.COLOR_RGB2GRAY)[..., None]


def vectors(descriptor: Sift | Surf, image: np.ndarray) -> np.ndarray:
    """(points, length) of one picture."""
    height, width, channels = image.shape
    size = Preprocessing(height=height, width=width, channels=channels)
    return described(descriptor, size, image[None]).reshape(-1, descriptor.length(size))


def similarities(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    pairs = zip(first.reshape(len(first), -1), second.reshape(len(first), -1), strict=True)
    return np.array([np.corrcoef(*pair)[0, 1] for pair in pairs])


def opencv_sift(descriptor: Sift, image: np.ndarray, angle: float = 0.0) -> np.ndarray:
    """(points, 4, 4, 8) of OpenCV at the descriptor's own windows; directions turn as ours."""
    size = Preprocessing(height=image.shape[0], width=image.shape[1], channels=1)
    keypoints = [
        cv2.KeyPoint(float(column), float(row), one.part * 2 / 3, angle, 0, 0)
        for one in descriptor.windows(size)
        for row in one.rows
        for column in one.columns
    ]
    _, found = cv2.SIFT_create().compute(image[..., 0], keypoints)
    return np.roll(found.reshape(-1, 4, 4, 8)[..., ::-1], 1, axis=-1)


@pytest.mark.parametrize("photo", sorted(PHOTOS))
def test_sift_is_opencvs(photo: str) -> None:
    descriptor = Sift(Sift.Config(parts=(4, 6), step=8, smoothing=OPENCV_SMOOTHING, root=False))
    found = similarities(vectors(descriptor, grey(photo)), opencv_sift(descriptor, grey(photo)))
    assert found.mean() > 0.99
    assert np.quantile(found, 0.05) > 0.97


def test_sift_of_a_turned_window_is_not_opencvs() -> None:
    descriptor = Sift(Sift.Config(parts=(4,), step=8, smoothing=OPENCV_SMOOTHING, root=False))
    image = grey("coffee")
    found = similarities(vectors(descriptor, image), opencv_sift(descriptor, image, angle=90.0))
    assert found.mean() < 0.8


def test_the_root_is_the_root_of_parts_that_sum_to_one() -> None:
    image = grey("cat")
    plain = vectors(Sift(Sift.Config(root=False)), image)
    root = vectors(Sift(Sift.Config()), image)
    wanted = np.sqrt(plain / plain.sum(axis=1, keepdims=True))
    assert np.abs(root - wanted).max() < 0.02
    np.testing.assert_allclose(np.linalg.norm(root, axis=1), 1, atol=0.05)


@pytest.mark.parametrize("descriptor", [Sift(Sift.Config()), Surf(Surf.Config())])
def test_faint_noise_stays_near_zero(descriptor: Sift | Surf) -> None:
    noise = np.random.default_rng(0).integers(100, 102, (28, 28, 1)).astype(np.uint8)
    ramp = np.arange(28, dtype=np.uint8) * 9
    edges = np.broadcast_to(ramp[:, None], (28, 28, 1)).copy()
    assert np.linalg.norm(vectors(descriptor, noise), axis=1).max() < 0.4
    assert np.linalg.norm(vectors(descriptor, edges), axis=1).min() > 0.9


def test_surf_is_mahotas_where_that_turns_nothing() -> None:
    """mahotas turns each window to its own orientation: those within 0.03 of upright count."""
    descriptor = Surf(Surf.Config(scales=(1,), samples=5, step=1))
    upright = []
    for photo in PHOTOS:
        image = grey(photo)
        (one,) = descriptor.windows(Preprocessing(height=97, width=97, channels=1))
        centres = np.array([(row, column) for row in one.rows for column in one.columns])
        points = np.hstack([centres + 1.5, np.ones((len(centres), 3))])
        number = {tuple(point): i for i, point in enumerate(points[:, :2])}
        theirs = mahotas_surf.descriptors(image[..., 0], points)
        theirs = theirs[np.abs(theirs[:, 5]) < 0.03]
        ours = vectors(descriptor, image)[[number[tuple(row[:2])] for row in theirs]]
        turned = theirs[:, 6:].reshape(-1, 4, 4, 4)[..., [1, 0, 3, 2]] * [-1, -1, 1, 1]
        upright.append(similarities(ours, turned))
    found = np.concatenate(upright)
    assert len(found) > 20
    assert found.mean() > 0.96


def test_windows_lie_inside_and_large_ones_shrink() -> None:
    size = Preprocessing(height=16, width=40, channels=1)
    windows = Sift(Sift.Config(parts=(3, 20), step=4)).windows(size)
    assert [one.part for one in windows] == [3, 4]
    for one in windows:
        for centres, pixels in ((one.rows, 16), (one.columns, 40)):
            assert centres.min() - 2 * one.part >= -0.5
            assert centres.max() + 2 * one.part <= pixels - 0.5
