"""What every augmentation in `learn/augment/` must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config
from clearsight.learn.augment import AUGMENTS
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_values

SHAPES = ((6, 28, 28, 1), (4, 9, 17, 3), (3, 1, 1, 3), (2, 1, 1, 1), (1, 2, 40, 1), (1, 5, 1, 3))
SEEDS = range(5)


class AugmentContract(Contract):
    """Clauses every augmentation satisfies; an implementation is its class."""

    registry = AUGMENTS

    def check_builds_from_defaults(self, augment: Any) -> None:
        """Constructed from its default configuration, which survives JSON."""
        config = augment.Config()
        assert isinstance(config, Config)
        assert augment.Config.parse(config.model_dump(mode="json")) == config
        augment(config)

    def check_keeps_shape_and_type(self, augment: Any) -> None:
        """uint8 (n, h, w, c) in and out, for pictures of any shape and every picture its place."""
        for shape in SHAPES:
            got = apply(augment, pictures(shape))
            assert got.dtype == torch.uint8
            assert got.shape == shape

    def check_leaves_its_input_alone(self, augment: Any) -> None:
        """The training pictures and their numbers are not modified."""
        for seed in SEEDS:
            images, numbers = pictures(SHAPES[0]), torch.arange(SHAPES[0][0])
            before = images.clone()
            random = torch.Generator().manual_seed(seed)
            augment(augment.Config())(images, numbers, 1, random)
            assert torch.equal(images, before)
            assert torch.equal(numbers, torch.arange(len(images)))

    def check_is_seeded(self, augment: Any) -> None:
        """The generator it is given decides, whatever torch's and NumPy's own are at."""
        images = pictures(SHAPES[0])
        torch.manual_seed(1)
        first = apply(augment, images, seed=3)
        torch.manual_seed(2)
        assert torch.equal(first, apply(augment, images, seed=3))

    def check_changes_something(self, augment: Any) -> None:
        """Over a few seeds the default configuration changes a picture, colour and grey."""
        for shape in SHAPES[:2]:
            images = pictures(shape)
            assert any(not torch.equal(apply(augment, images, seed), images) for seed in SEEDS)

    def check_every_option_matters(self, augment: Any) -> None:
        """Every option, given another value, gives other pictures."""
        images = pictures((16, 24, 20, 3))
        for name, configs in other_values(augment.Config()).items():
            assert any(
                not torch.equal(
                    apply(augment, images, seed), apply(augment, images, seed, config=config)
                )
                for config in configs
                for seed in SEEDS
            ), f"the option {name!r} does nothing"

    def check_pictures_are_independent(self, augment: Any) -> None:
        """A picture is changed in the same way whatever stands beside it: labels stay true."""
        for seed in SEEDS:
            images = pictures(SHAPES[0])
            others = images.clone()
            others[1:] = 255 - others[1:]
            one, two = apply(augment, images, seed), apply(augment, others, seed)
            assert torch.equal(one[0], two[0])

    def check_repr_tells_options(self, augment: Any) -> None:
        """Its repr is the same every time and another for every other option."""
        default = augment.Config()
        assert repr(augment(default)) == repr(augment(augment.Config()))
        assert " at 0x" not in repr(augment(default))
        for name, configs in other_values(default).items():
            for config in configs:
                assert repr(augment(config)) != repr(augment(default)), name

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        return {
            "check_builds_from_defaults": _planted(config=object),
            "check_keeps_shape_and_type": _planted(lambda images, random: images.float()),
            "check_leaves_its_input_alone": _planted(lambda images, random: images.fill_(0)),
            "check_is_seeded": _planted(lambda images, random: images ^ _noise(images, None)),
            "check_changes_something": _planted(lambda images, random: images.clone()),
            "check_every_option_matters": _planted(_noisy, config=_Idle),
            "check_pictures_are_independent": _planted(lambda images, random: images.flip(0)),
            "check_repr_tells_options": _planted(_noisy, config=_Idle, told=False),
        }


def pictures(shape: tuple[int, ...]) -> Tensor:
    """Return random uint8 pictures."""
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


def apply(augment: Any, images: Tensor, seed: int = 0, config: Any = None) -> Tensor:
    """Run an augmentation on a batch of its first epoch, in its default configuration or another.

    Args:
        augment: the class.
        images: uint8 (n, h, w, c).
        seed: of the generator.
        config: None for the default one.
    """
    random = torch.Generator().manual_seed(seed)
    built = augment(augment.Config() if config is None else config)
    changed: Tensor = built(images, torch.arange(len(images)), 0, random)
    return changed


class _Idle(Config):
    nothing: float = Field(default=0.5)


def _noise(images: Tensor, random: torch.Generator | None) -> Tensor:
    return torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=random)


def _noisy(images: Tensor, random: torch.Generator) -> Tensor:
    return images ^ _noise(images, random)


def _planted(
    change: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    config: Any = None,
    told: bool = True,
) -> Any:
    class Planted:
        Config: ClassVar[Any] = config or type("PlantedConfig", (Config,), {})

        def __init__(self, config: Any) -> None:
            self.config = config

        def __repr__(self) -> str:
            return f"Planted({self.config!r})" if told else "Planted"

        def __call__(
            self, images: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
        ) -> Tensor:
            assert change is not None
            return change(images, random)

    return Planted
