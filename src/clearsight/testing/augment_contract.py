"""What every augmentation in `learn/augment/` must satisfy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clearsight.core.config import Config
from clearsight.learn.augment import AUGMENTS
from clearsight.testing.contract import Contract

SHAPES = ((6, 28, 28, 1), (4, 9, 17, 3), (3, 1, 1, 3), (1, 2, 40, 1))


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
        """uint8 (n, h, w, c) in and out, for pictures of any shape."""
        for shape in SHAPES:
            got = apply(augment, pictures(shape))
            assert got.dtype == torch.uint8
            assert got.shape == shape

    def check_leaves_its_input_alone(self, augment: Any) -> None:
        """The training pictures are not modified."""
        images = pictures(SHAPES[0])
        before = images.clone()
        apply(augment, images)
        assert torch.equal(images, before)

    def check_is_seeded(self, augment: Any) -> None:
        """The same random generator gives the same pictures."""
        images = pictures(SHAPES[0])
        assert torch.equal(apply(augment, images, seed=3), apply(augment, images, seed=3))

    def check_changes_something(self, augment: Any) -> None:
        """Over a few seeds the default configuration changes a picture: no option does nothing."""
        images = pictures(SHAPES[0])
        assert any(not torch.equal(apply(augment, images, seed), images) for seed in range(5))

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        return {
            "check_builds_from_defaults": _planted(config=object),
            "check_keeps_shape_and_type": _planted(lambda images, random: images.float()),
            "check_leaves_its_input_alone": _planted(lambda images, random: images.fill_(0)),
            "check_is_seeded": _planted(lambda images, random: torch.rand(images.shape)),
            "check_changes_something": _planted(lambda images, random: images.clone()),
        }


def pictures(shape: tuple[int, ...]) -> Tensor:
    """Return random uint8 pictures."""
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


def apply(augment: Any, images: Tensor, seed: int = 0) -> Tensor:
    """Run an augmentation in its default configuration on a batch of its first epoch."""
    random = torch.Generator().manual_seed(seed)
    changed: Tensor = augment(augment.Config())(images, torch.arange(len(images)), 0, random)
    return changed


def _planted(change: Any = None, config: Any = None) -> Any:
    class Planted:
        Config = config or type("PlantedConfig", (Config,), {})

        def __init__(self, config: Any) -> None:
            self.config = config

        def __call__(
            self, images: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
        ) -> Tensor:
            changed: Tensor = change(images, random)
            return changed

    return Planted
