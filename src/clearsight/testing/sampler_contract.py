"""What every sampler in `learn/samplers/` must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.nouns import Task
from clearsight.learn.samplers import SAMPLERS
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_options

COUNTS = (60, 0, 12, 3, 1)
"""Pictures per class: uneven, one class without any."""
PASSES = 60

Labels = NDArray[np.int64]


class SamplerContract(Contract):
    """Clauses every sampler satisfies; an implementation is its class."""

    registry = SAMPLERS

    def check_builds_from_defaults(self, sampler: Any) -> None:
        """Constructed from its default configuration, which survives JSON; names its source."""
        config = sampler.Config()
        assert isinstance(config, Config)
        assert sampler.Config.parse(config.model_dump(mode="json")) == config
        sampler(config)
        assert "Source:" in (sampler.__doc__ or "")

    def check_fills_the_pass(self, sampler: Any) -> None:
        """A pass has as many pictures as the training part, all of them there; one will do."""
        for labels in (*_forms(sampler), np.zeros(1, np.int64)):
            for progress in (0.0, 0.5, 1.0):
                passed = order(sampler, labels, progress=progress)
                assert passed.shape == (len(labels),)
                assert passed.dtype == np.int64
                assert 0 <= passed.min() <= passed.max() < len(labels)

    def check_is_seeded(self, sampler: Any) -> None:
        """The same random generator gives the same pass, another one another."""
        for labels in _forms(sampler):
            assert np.array_equal(order(sampler, labels, 3), order(sampler, labels, 3))
            assert not np.array_equal(order(sampler, labels, 3), order(sampler, labels, 4))

    def check_leaves_its_input_alone(self, sampler: Any) -> None:
        """Labels are read-only: a sampler that writes into them fails."""
        for labels in _forms(sampler):
            labels.flags.writeable = False
            order(sampler, labels)

    def check_reaches_every_picture(self, sampler: Any) -> None:
        """Over enough passes every picture is shown."""
        for labels in _forms(sampler):
            seen = {n for seed in range(PASSES) for n in order(sampler, labels, seed).tolist()}
            assert len(seen) == len(labels)

    def check_mixes_classes(self, sampler: Any) -> None:
        """Classes do not come in blocks: both halves of a pass hold the two largest."""
        labels = _labels()
        for half in np.array_split(labels[order(sampler, labels)], 2):
            assert {0, 2} <= set(half.tolist())

    def check_balances_claim(self, sampler: Any) -> None:
        """`balances` is claimed if and only if rare classes come oftener, at the end at least."""
        labels = _labels()
        shown = np.bincount(labels[order(sampler, labels, progress=1.0)], minlength=len(COUNTS))
        assert sampler.balances == bool(shown[2] > COUNTS[2])
        assert sampler.balances or shown.tolist() == list(COUNTS)

    def check_every_option_counts(self, sampler: Any) -> None:
        """Another value of any option gives other passes: none does nothing."""
        labels = _labels()
        for name, config in other_options(sampler.Config).items():
            assert any(
                not np.array_equal(
                    order(sampler, labels, progress=progress),
                    order(sampler, labels, progress=progress, config=config),
                )
                for progress in (0.0, 0.1, 1.0)
            ), f"option {name!r} does nothing"

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""

        class Unused(Config):
            share: float = 0.5

        def writing(labels: Labels, random: np.random.Generator) -> Labels:
            labels[0] = 0
            return random.permutation(len(labels))

        return {
            "check_builds_from_defaults": _planted(lambda y, random: np.arange(len(y)), object),
            "check_fills_the_pass": _planted(lambda y, random: np.arange(len(y) // 2)),
            "check_is_seeded": _planted(lambda y, random: np.arange(len(y))),
            "check_leaves_its_input_alone": _planted(writing),
            "check_reaches_every_picture": _planted(lambda y, random: np.zeros_like(y)),
            "check_mixes_classes": _planted(lambda y, random: np.argsort(y)),
            "check_balances_claim": _planted(lambda y, random: np.flatnonzero(y < 9) // 2),
            "check_every_option_counts": _planted(lambda y, random: np.arange(len(y)), Unused),
        }


def order(
    sampler: Any, labels: Labels, seed: int = 0, progress: float = 0.0, config: Any = None
) -> Labels:
    """Return one pass of a sampler, in its default configuration if none is given."""
    made = sampler(sampler.Config() if config is None else config)
    passed: Labels = made.order(labels, len(COUNTS), progress, np.random.default_rng(seed))
    return passed


def _labels() -> Labels:
    return np.repeat(np.arange(len(COUNTS)), COUNTS)


def _forms(sampler: Any) -> list[Labels]:
    """Return labels in each form that the sampler takes."""
    labels = _labels()
    several = np.eye(len(COUNTS), dtype=np.int64)[labels]
    return [labels, *([several] if "multi-label" in sampler.tasks else [])]


def _planted(pass_of: Callable[[Labels, np.random.Generator], Labels], config: Any = Config) -> Any:
    class Planted:
        """A sampler with a defect. Source: none."""

        Config: ClassVar[Any] = config
        tasks: ClassVar[tuple[Task, ...]] = ("single-label",)
        balances: ClassVar[bool] = False

        def __init__(self, config: Any) -> None:
            self.config = config

        def order(
            self, labels: Labels, classes: int, progress: float, random: np.random.Generator
        ) -> Labels:
            return pass_of(labels, random)

    return Planted
