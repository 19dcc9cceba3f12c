"""What every attack in `robust/attacks/` must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.nouns import PixelsNHWC, Scores
from clearsight.core.seeds import generator
from clearsight.robust.attacks import ATTACKS, Labels
from clearsight.robust.steps import fooled, project
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_values
from clearsight.testing.soft_network import SIDE, SoftNetwork

N = 60
RADIUS, SMALL_RADIUS = 6.0, 1.5
ROUGH = 3.0
"""Sharpness of a network whose loss has many hills: where an attack ends depends on its way."""
Harm = Callable[[Any, PixelsNHWC, Labels, float, np.random.Generator], PixelsNHWC]


class AttackContract(Contract):
    """Clauses every attack satisfies; an implementation is its class."""

    registry = ATTACKS

    def check_builds_from_defaults(self, attack: Any) -> None:
        """Constructed from its default configuration, which survives JSON."""
        config = attack.Config()
        assert isinstance(config, Config)
        assert attack.Config.parse(config.model_dump(mode="json")) == config
        assert isinstance(attack.black_box, bool)
        assert attack.baseline == "" or attack.baseline in self.registry.keys()  # noqa: SIM118
        attack(config)

    def check_stays_in_the_ball(self, attack: Any) -> None:
        """Within the radius of every pixel and within 0-255, at white and black too; float32."""
        for channels in (1, 3):
            model = SoftNetwork(channels=channels)
            pixels = some_pixels(channels)
            pixels[: N // 3], pixels[N // 3 : N // 2] = 0, 255
            for radius in (0.5, RADIUS, 200.0):
                harmed = run(attack, model, pixels, radius)
                assert harmed.shape == pixels.shape
                assert harmed.dtype == np.float32
                assert np.abs(harmed - pixels).max() <= radius + 1e-3
                assert harmed.min() >= 0
                assert harmed.max() <= 255

    def check_leaves_its_input_alone(self, attack: Any) -> None:
        """Pictures and labels are not modified."""
        model, pixels = SoftNetwork(), some_pixels()
        labels = model.logits(pixels).argmax(axis=1)
        before = pixels.copy(), labels.copy()
        random = generator(0, "attack")
        attack(attack.Config())(model, pixels, labels, RADIUS, random)
        assert np.array_equal(pixels, before[0])
        assert np.array_equal(labels, before[1])

    def check_leaves_the_model_alone(self, attack: Any) -> None:
        """The recognizer is the same afterwards."""
        model, pixels = SoftNetwork(), some_pixels()
        before = model.logits(pixels)
        run(attack, model, pixels)
        assert np.array_equal(model.logits(pixels), before)

    def check_is_seeded(self, attack: Any) -> None:
        """The generator it is given decides, whatever NumPy's own is at."""
        model, pixels = SoftNetwork(), some_pixels()
        np.random.seed(1)
        first = run(attack, model, pixels)
        np.random.seed(2)
        assert np.array_equal(first, run(attack, model, pixels))

    def check_fools_more_than_noise(self, attack: Any) -> None:
        """Far more pictures are wrong afterwards than with random noise of the full radius."""
        model, pixels = SoftNetwork(), some_pixels()
        by_noise = wrong(model, noisy(pixels, RADIUS), pixels)
        assert wrong(model, run(attack, model, pixels), pixels) > by_noise + N // 10

    def check_never_weaker_than_its_baseline(self, attack: Any) -> None:
        """At no radius are fewer pictures wrong than under the weaker attack that it names."""
        model, pixels = SoftNetwork(), some_pixels()
        for radius in (SMALL_RADIUS, 3.0, RADIUS, 20.0):
            weaker = noisy(pixels, radius)
            if attack.baseline:
                weaker = run(self.registry.load(attack.baseline), model, pixels, radius)
            harmed = run(attack, model, pixels, radius)
            assert wrong(model, harmed, pixels) >= wrong(model, weaker, pixels), radius

    def check_black_box_is_true(self, attack: Any) -> None:
        """Declared black-box, scores alone are enough; else it does ask for gradients."""
        model, pixels = SoftNetwork(), some_pixels()
        if attack.black_box:
            scores_only = _ScoresOnly(model)
            labels = model.logits(pixels).argmax(axis=1)
            attack(attack.Config())(scores_only, pixels, labels, RADIUS, generator(0, "attack"))
            return
        run(attack, model, pixels)
        assert model.gradient_calls > 0

    def check_every_option_matters(self, attack: Any) -> None:
        """Every option, given another value, gives other pictures."""
        model, pixels = SoftNetwork(sharpness=ROUGH), some_pixels()
        default = run(attack, model, pixels, SMALL_RADIUS)
        for name, configs in other_values(attack.Config()).items():
            assert any(
                not np.array_equal(default, run(attack, model, pixels, SMALL_RADIUS, config))
                for config in configs
            ), f"the option {name!r} does nothing"

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        return {
            "check_builds_from_defaults": _planted(_noise, config=object),
            "check_stays_in_the_ball": _planted(lambda m, x, y, r, g: x + np.float32(2 * r)),
            "check_leaves_its_input_alone": _planted(_in_place),
            "check_leaves_the_model_alone": _planted(_spoil),
            "check_is_seeded": _planted(_unseeded),
            "check_fools_more_than_noise": _planted(_noise),
            "check_never_weaker_than_its_baseline": _planted(_noise, baseline="fgsm"),
            "check_black_box_is_true": _planted(_noise),
            "check_every_option_matters": _planted(_noise, config=_Idle),
        }


def some_pixels(channels: int = 1) -> PixelsNHWC:
    """Return float32 (n, 8, 8, channels) pictures of noise."""
    random = generator(3, "attack-contract", channels)
    return np.rint(random.uniform(0, 255, (N, SIDE, SIDE, channels))).astype(np.float32)


def run(
    attack: Any, model: Any, pixels: PixelsNHWC, radius: float = RADIUS, config: Any = None
) -> PixelsNHWC:
    """Attack a model that takes every picture for what it says itself."""
    labels = model.logits(pixels).argmax(axis=1)
    built = attack(attack.Config() if config is None else config)
    harmed: PixelsNHWC = built(model, pixels.copy(), labels, radius, generator(5, "attack"))
    return harmed


def wrong(model: Any, harmed: PixelsNHWC, pixels: PixelsNHWC) -> int:
    """Return how many pictures are no longer taken for what they were."""
    return int(fooled(model.logits(harmed), model.logits(pixels).argmax(axis=1)).sum())


def noisy(pixels: PixelsNHWC, radius: float) -> PixelsNHWC:
    """Return pictures with every value moved by the whole radius, up or down."""
    signs = generator(9, "noise").choice((-1.0, 1.0), pixels.shape).astype(np.float32)
    return project(pixels + np.float32(radius) * signs, pixels, radius)


class _ScoresOnly:
    def __init__(self, model: SoftNetwork) -> None:
        self._model = model

    def logits(self, pixels_nhwc: PixelsNHWC) -> Scores:
        return self._model.logits(pixels_nhwc)


class _Idle(Config):
    nothing: float = Field(default=0.5)


def _noise(
    model: Any, pixels: PixelsNHWC, labels: Labels, radius: float, random: np.random.Generator
) -> PixelsNHWC:
    moved = pixels + random.uniform(-radius, radius, pixels.shape).astype(np.float32)
    return project(moved, pixels, radius)


def _in_place(
    model: Any, pixels: PixelsNHWC, labels: Labels, radius: float, random: np.random.Generator
) -> PixelsNHWC:
    pixels += 1
    return pixels


def _spoil(
    model: Any, pixels: PixelsNHWC, labels: Labels, radius: float, random: np.random.Generator
) -> PixelsNHWC:
    model.out *= -1
    return pixels


def _unseeded(
    model: Any, pixels: PixelsNHWC, labels: Labels, radius: float, random: np.random.Generator
) -> PixelsNHWC:
    return project(
        pixels + np.random.normal(size=pixels.shape).astype(np.float32),
        pixels,
        radius,
    )


def _planted(harm: Harm, config: Any = None, baseline: str = "") -> Any:
    class Planted:
        black_box: ClassVar[bool] = False
        Config: ClassVar[Any] = config or type("PlantedConfig", (Config,), {})

        def __init__(self, config: Any) -> None:
            self.config = config

        def __call__(
            self,
            model: Any,
            pixels_nhwc: PixelsNHWC,
            labels: Labels,
            radius: float,
            random: np.random.Generator,
        ) -> PixelsNHWC:
            return harm(model, pixels_nhwc, labels, radius, random)

    Planted.baseline = baseline  # type: ignore[attr-defined]
    return Planted
