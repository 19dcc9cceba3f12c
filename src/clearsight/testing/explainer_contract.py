"""What every method in `explain/methods/` must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.errors import UsageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.explain.explainer import EXPLAINERS, Maps
from clearsight.explain.place import peak
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject
from clearsight.explain.weights_check import check_weights
from clearsight.testing.colour_patch_network import (
    PATCH,
    colour_patch_network,
    inside,
    patch_pictures,
    put_patch,
    subject_of_network,
)
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_values

PLACES = ((0, 0), (8, 40), (32, 16), (28, 48), (16, 24))
LABELS = (0, 1, 2, 0, 1)
STRONGER = 2.0
"""The planted patch holds so many times more evidence, pixel by pixel, than the rest."""


class ExplainerContract(Contract):
    """Clauses every explainer satisfies; an implementation is its class."""

    registry = EXPLAINERS

    def check_builds_from_defaults(self, explainer: Any) -> None:
        """Constructed from its default configuration, which survives JSON; says what it needs."""
        config = explainer.Config()
        assert isinstance(config, Config)
        assert explainer.Config.parse(config.model_dump(mode="json")) == config
        assert explainer.needs in ("scores", "gradients", "attentions", "features")
        assert isinstance(explainer.complete, bool)
        assert isinstance(explainer.compares, bool)
        explainer(config)

    def check_gives_one_map_a_picture(self, explainer: Any) -> None:
        """(n, h, w) float32, finite, as large as the model's input."""
        images = patch_pictures(PLACES, LABELS)
        found = maps_of(explainer, images, Question(np.array(LABELS)))
        assert found.dtype == np.float32
        assert found.shape == images.shape[:3]
        assert np.isfinite(found).all()

    def check_leaves_its_input_alone(self, explainer: Any) -> None:
        """The pictures it is given are not modified."""
        images = patch_pictures(PLACES, LABELS)
        before = images.copy()
        maps_of(explainer, images, Question(np.array(LABELS)))
        assert np.array_equal(images, before)

    def check_finds_a_planted_patch(self, explainer: Any) -> None:
        """The strongest evidence is in the patch that decides, and most of it."""
        images = patch_pictures(PLACES, LABELS)
        for found, patch in zip(
            maps_of(explainer, images, Question(np.array(LABELS))), PLACES, strict=True
        ):
            assert inside(peak(found), patch), f"peak {peak(found)}, patch at {patch}"
            evidence = np.maximum(found, 0)
            y, x = patch
            own = float(evidence[y : y + PATCH, x : x + PATCH].mean())
            rest = (evidence.sum() - own * PATCH**2) / (evidence.size - PATCH**2)
            assert own > STRONGER * rest, f"{own} in the patch, {rest} elsewhere"

    def check_batch_is_one_by_one(self, explainer: Any) -> None:
        """A batch of n gives what n batches of one give."""
        images, labels = patch_pictures(PLACES, LABELS), np.array(LABELS)
        together = maps_of(explainer, images, Question(labels))
        for at in range(len(images)):
            alone = maps_of(explainer, images[at : at + 1], Question(labels[at : at + 1]))[0]
            limit = 1e-4 * max(1e-6, float(np.abs(together[at]).max()))
            assert float(np.abs(alone - together[at]).max()) <= limit

    def check_is_repeatable(self, explainer: Any) -> None:
        """The same call gives the same map, whatever NumPy's own generator is at."""
        images, question = patch_pictures(PLACES, LABELS), Question(np.array(LABELS))
        np.random.seed(1)
        one = maps_of(explainer, images, question)
        np.random.seed(2)
        assert np.array_equal(one, maps_of(explainer, images, question))

    def check_random_weights_change_the_map(self, explainer: Any) -> None:
        """A method that ignores what was learnt explains nothing."""
        images = patch_pictures(PLACES, LABELS)[:4]
        made = explainer(explainer.Config())
        subject = subject_of_network(colour_patch_network())
        check = check_weights(made, subject, images, Question(np.array(LABELS[:4])))
        assert check.passed, f"rank correlation {check.similarity} with random weights"

    def check_is_complete_where_it_says_so(self, explainer: Any) -> None:
        """A complete map sums to the difference of the scores from the baseline's."""
        if not explainer.complete:
            assert not hasattr(explainer, "baseline"), "a baseline without completeness"
            return
        network, made = colour_patch_network(), explainer(explainer.Config())
        images = patch_pictures(PLACES, LABELS)
        question = Question(np.array(LABELS))
        empty = np.stack([made.baseline(image) for image in images])
        weights = question.weights(3)
        scores = [(network.logits(x) * weights).sum(axis=1) for x in (images.astype("f4"), empty)]
        sums = made.maps(subject_of_network(network), images, question).sum(axis=(1, 2))
        assert np.allclose(sums, scores[0] - scores[1], rtol=0.02, atol=0.02)

    def check_compares_two_classes(self, explainer: Any) -> None:
        """Asked why A and not B it points at A; one that looks at no class refuses."""
        images = patch_pictures([PLACES[0]] * 2, (0, 0))
        for image in images:
            put_patch(image, PLACES[3], 1)
        question = Question(np.array([0, 1]), np.array([1, 0]))
        if not explainer.compares:
            with pytest.raises(UsageError):
                maps_of(explainer, images, question)
            return
        first, second = maps_of(explainer, images, question)
        assert inside(peak(first), PLACES[0])
        assert inside(peak(second), PLACES[3])

    def check_stands_a_flat_picture(self, explainer: Any) -> None:
        """A picture of one colour gives a finite map."""
        images = np.full_like(patch_pictures(PLACES[:1], LABELS[:1]), 128)
        assert np.isfinite(maps_of(explainer, images, Question(np.array([0])))).all()

    def check_every_option_matters(self, explainer: Any) -> None:
        """Every option, given another value, gives another map."""
        images, question = patch_pictures(PLACES, LABELS), Question(np.array(LABELS))
        plain = maps_of(explainer, images, question)
        for name, configs in other_values(explainer.Config()).items():
            changed = [maps_of(explainer, images, question, config) for config in configs[:2]]
            assert any(not np.array_equal(plain, one) for one in changed), f"{name!r} does nothing"

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        return {
            "check_builds_from_defaults": planted(config=object),
            "check_gives_one_map_a_picture": planted(lambda s, i, q: _true(i).astype(np.float64)),
            "check_leaves_its_input_alone": planted(_spoils),
            "check_finds_a_planted_patch": planted(lambda s, i, q: -_true(i)),
            "check_batch_is_one_by_one": planted(lambda s, i, q: _true(i) * len(i)),
            "check_is_repeatable": planted(
                lambda s, i, q: _true(i) + np.float32(np.random.random())
            ),
            "check_random_weights_change_the_map": planted(lambda s, i, q: _true(i)),
            "check_is_complete_where_it_says_so": planted(lambda s, i, q: _true(i), complete=True),
            "check_compares_two_classes": planted(lambda s, i, q: _true(i)),
            "check_stands_a_flat_picture": planted(
                lambda s, i, q: np.where(np.ptp(i) > 0, _true(i), np.float32(np.nan))
            ),
            "check_every_option_matters": planted(lambda s, i, q: _true(i), config=_Idle),
        }


def maps_of(explainer: Any, images: ImagesNHWC, question: Question, config: Any = None) -> Maps:
    """Explain the colour-patch network in the default configuration or another."""
    made = explainer(explainer.Config() if config is None else config)
    found: Maps = made.maps(subject_of_network(colour_patch_network()), images, question)
    return found


class _Idle(Config):
    nothing: float = Field(default=0.5)


def _true(images: ImagesNHWC) -> Maps:
    """Where a picture is colourful: right for this network, and blind to it."""
    pixels = images.astype(np.float32)
    found: Maps = pixels.max(axis=3) - pixels.min(axis=3)
    return found


def _spoils(subject: Subject, images: ImagesNHWC, question: Question) -> Maps:
    found = _true(images)
    images[:] = 0
    return found


def planted(
    maps: Callable[[Subject, ImagesNHWC, Question], Any] | None = None,
    config: Any = None,
    complete: bool = False,
) -> Any:
    """Return an explainer made of one function."""

    class Planted:
        Config: ClassVar[Any] = config or type("PlantedConfig", (Config,), {})
        needs: ClassVar[str] = "scores"
        compares: ClassVar[bool] = True

        def __init__(self, config: Any) -> None:
            self.config = config

        def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Any:
            assert maps is not None
            return maps(subject, images_nhwc, question)

        if complete:

            def baseline(self, image_hwc: Any) -> Any:
                return np.zeros(image_hwc.shape, np.float32)

    Planted.complete = complete  # type: ignore[attr-defined]
    return Planted
