"""What corruptions and deformations alike must satisfy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from clearsight.core.errors import UsageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.distortion import SEVERITIES, Change, Distortion
from clearsight.testing.scenes import scenes

SHAPES = ((3, 32, 32, 3), (2, 64, 64, 1), (1, 224, 224, 3), (2, 9, 31, 3), (1, 40, 6, 1))
TINY = ((2, 1, 1, 3), (1, 1, 1, 1), (1, 1, 30, 3), (2, 3, 2, 1))
SIZES = ((6, 32), (6, 64), (2, 224))
BAD_SEVERITIES = (0, 6, -1, 2.5, True, "3", None)
SLACK = 0.97
"""How much nearer a picture may come at the next severity: luck of the draw."""


class DistortionClauses:
    """Clauses every corruption and deformation satisfies; an implementation is a `Distortion`."""

    def check_is_a_distortion(self, distortion: Any) -> None:
        """It is a `Distortion` with a title, and says why where distance does not grow."""
        assert isinstance(distortion, Distortion)
        assert distortion.title.strip()
        assert distortion.uneven == "" or len(distortion.uneven.split()) > 3
        assert distortion.at(3).severity == 3

    def check_keeps_shape_and_type(self, distortion: Any) -> None:
        """uint8 (n, h, w, c) in and out: grey, not square, one pixel, no picture at all."""
        for shape in (*SHAPES, *TINY, (0, 8, 8, 3)):
            for severity in (1, 3, 5):
                got = distortion(pictures(shape), severity, 1)
                assert got.dtype == np.uint8, shape
                assert got.shape == shape

    def check_leaves_its_input_alone(self, distortion: Any) -> None:
        """The pictures it is given are not modified."""
        for severity in SEVERITIES:
            images = pictures(SHAPES[0])
            before = images.copy()
            got = distortion(images, severity, 1)
            assert np.array_equal(images, before)
            assert not np.shares_memory(images, got)

    def check_is_seeded(self, distortion: Any) -> None:
        """The seed decides, whatever NumPy's own generator is at."""
        for severity in (1, 5):
            np.random.seed(1)
            first = distortion(pictures(SHAPES[0]), severity, 3)
            np.random.seed(2)
            assert np.array_equal(first, distortion(pictures(SHAPES[0]), severity, 3))

    def check_changes_something(self, distortion: Any) -> None:
        """At every severity pictures differ, colour and grey; of grey ones not if `colour`."""
        shapes: tuple[tuple[int, ...], ...] = ((4, 64, 64, 3), (4, 64, 64, 1), (4, 28, 28, 1))
        for shape in shapes:
            for severity in SEVERITIES:
                apart = distance(distortion, pictures(shape), severity)
                same = distortion.colour and shape[3] == 1
                assert (apart == 0) if same else (apart > 0), (shape, severity)

    def check_grows_with_severity(self, distortion: Any) -> None:
        """Pictures are farther from what they were with every severity, unless it says why not."""
        if distortion.uneven:
            return
        for n, side in SIZES:
            images = scenes(n, side, side)
            apart = [distance(distortion, images, severity) for severity in SEVERITIES]
            assert apart[-1] > apart[0], (side, apart)
            for nearer, farther in pairwise(apart):
                assert farther >= SLACK * nearer, (side, apart)

    def check_pictures_are_independent(self, distortion: Any) -> None:
        """A picture is changed alike whatever stands beside it; two alike are not changed alike."""
        images = pictures(SHAPES[0])
        others = images.copy()
        others[1:] = 255 - others[1:]
        one, two = distortion(images, 4, 5), distortion(others, 4, 5)
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[:1], distortion(images[:1], 4, 5))

    def check_bad_severity_is_refused(self, distortion: Any) -> None:
        """A severity that is not 1, 2, 3, 4 or 5 is refused with what is allowed."""
        for severity in BAD_SEVERITIES:
            with pytest.raises(UsageError, match=r"1 .*5 "):
                distortion(pictures(SHAPES[0]), severity, 1)

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        return {
            "check_is_a_distortion": Distortion(_darker, " "),
            "check_keeps_shape_and_type": planted(lambda images, s, _: images[:, ::2]),
            "check_leaves_its_input_alone": planted(_in_place),
            "check_is_seeded": planted(_unseeded),
            "check_changes_something": planted(lambda images, s, _: images.copy()),
            "check_grows_with_severity": planted(lambda images, s, _: _darker(images, 6 - s, 0)),
            "check_pictures_are_independent": planted(lambda images, s, _: images[::-1].copy()),
            "check_bad_severity_is_refused": _Lax(_darker, "Lax"),
        }


def pictures(shape: tuple[int, ...]) -> ImagesNHWC:
    """Return pictures of a shape."""
    n, height, width, channels = shape
    return scenes(n, height, width, channels, seed=7)


def distance(distortion: Any, images: ImagesNHWC, severity: int) -> float:
    """Return the mean absolute difference that a distortion makes, in grey levels."""
    changed = distortion(images, severity, 11)
    return float(np.abs(changed.astype(np.int16) - images).mean())


def planted(change: Change) -> Distortion:
    """Return a distortion of a function."""
    return Distortion(change, "Planted")


class _Lax(Distortion):
    def __call__(self, images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
        return images_nhwc.copy()


def _darker(images: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    return (images * np.float32(1 - 0.1 * severity)).astype(np.uint8)


def _in_place(images: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    images //= 2
    return images.copy()


def _unseeded(images: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    return images ^ np.random.randint(0, 9, images.shape).astype(np.uint8)
