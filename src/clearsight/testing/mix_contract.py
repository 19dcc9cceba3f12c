"""What every mix in `learn/mixes/` must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config
from clearsight.learn.mixes import MIXES, Mixed
from clearsight.testing.augment_contract import pictures
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_values

SHAPES = ((6, 28, 28, 1), (4, 9, 17, 3), (3, 1, 1, 3), (1, 2, 40, 1))
SEEDS = range(20)


class MixContract(Contract):
    """Clauses every mix satisfies; an implementation is its class."""

    registry = MIXES

    def check_builds_from_defaults(self, mix: Any) -> None:
        """Constructed from its default configuration, which survives JSON."""
        config = mix.Config()
        assert isinstance(config, Config)
        assert mix.Config.parse(config.model_dump(mode="json")) == config
        mix(config)

    def check_keeps_shape_and_type(self, mix: Any) -> None:
        """uint8 (n, h, w, c) in and out, (n,) int64 partners of the batch, a share in [0, 1]."""
        for shape in SHAPES:
            for seed in SEEDS:
                mixed = apply(mix, pictures(shape), seed)
                assert mixed.images_nhwc.dtype == torch.uint8
                assert mixed.images_nhwc.shape == shape
                assert mixed.partners.dtype == torch.int64
                assert mixed.partners.shape == shape[:1]
                assert bool(((mixed.partners >= 0) & (mixed.partners < shape[0])).all())
                assert 0 <= mixed.share <= 1

    def check_leaves_its_input_alone(self, mix: Any) -> None:
        """The pictures it is given are not modified."""
        for seed in SEEDS:
            images = pictures(SHAPES[0])
            before = images.clone()
            apply(mix, images, seed)
            assert torch.equal(images, before)

    def check_is_seeded(self, mix: Any) -> None:
        """The generator it is given decides, whatever torch's own is at."""
        images = pictures(SHAPES[0])
        torch.manual_seed(1)
        one = apply(mix, images, seed=3)
        torch.manual_seed(2)
        two = apply(mix, images, seed=3)
        assert torch.equal(one.images_nhwc, two.images_nhwc)
        assert torch.equal(one.partners, two.partners)
        assert one.share == two.share

    def check_changes_something(self, mix: Any) -> None:
        """Over a few seeds the default configuration changes a picture."""
        images = pictures(SHAPES[0])
        assert any(not torch.equal(apply(mix, images, s).images_nhwc, images) for s in SEEDS)

    def check_share_is_true(self, mix: Any) -> None:
        """A picture's mean is its share of its own mean and the rest of its partner's."""
        plain = torch.arange(0, 240, 40, dtype=torch.uint8)
        images = plain[:, None, None, None].expand(len(plain), 32, 20, 3).contiguous()
        for seed in SEEDS:
            mixed = apply(mix, images, seed)
            told = mixed.share * plain + (1 - mixed.share) * plain[mixed.partners]
            seen = mixed.images_nhwc.float().mean((1, 2, 3))
            assert float((told - seen).abs().max()) <= 0.5 + 1e-3

    def check_every_option_matters(self, mix: Any) -> None:
        """Every option, given another value, gives other pictures or shares."""
        images = pictures(SHAPES[0])
        for name, configs in other_values(mix.Config()).items():
            assert any(
                not torch.equal(
                    apply(mix, images, seed).images_nhwc,
                    apply(mix, images, seed, config).images_nhwc,
                )
                for config in configs
                for seed in SEEDS
            ), f"the option {name!r} does nothing"

    def check_repr_tells_options(self, mix: Any) -> None:
        """Its repr is the same every time and another for every other option."""
        default = mix.Config()
        assert repr(mix(default)) == repr(mix(mix.Config()))
        assert " at 0x" not in repr(mix(default))
        for name, configs in other_values(default).items():
            for config in configs:
                assert repr(mix(config)) != repr(mix(default)), name

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        partners = torch.arange(5, -1, -1)
        return {
            "check_builds_from_defaults": _planted(config=object),
            "check_keeps_shape_and_type": _planted(lambda i, r: Mixed(i.float(), partners, 0.5)),
            "check_leaves_its_input_alone": _planted(
                lambda images, random: Mixed(images.fill_(0), partners, 0.5)
            ),
            "check_is_seeded": _planted(lambda i, r: Mixed(i, torch.randperm(len(i)), 1.0)),
            "check_changes_something": _planted(lambda i, r: Mixed(i.clone(), partners, 1.0)),
            "check_share_is_true": _planted(lambda i, r: Mixed(i.flip(0), partners, 0.5)),
            "check_every_option_matters": _planted(
                lambda images, random: Mixed(images.flip(0), partners, 0.0), config=_Idle
            ),
            "check_repr_tells_options": _planted(
                lambda images, random: Mixed(images, partners, 1.0), config=_Idle, told=False
            ),
        }


def apply(mix: Any, images: Tensor, seed: int = 0, config: Any = None) -> Mixed:
    """Mix a batch in the default configuration or another."""
    random = torch.Generator().manual_seed(seed)
    mixed: Mixed = mix(mix.Config() if config is None else config)(images, random)
    return mixed


class _Idle(Config):
    nothing: float = Field(default=0.5)


def _planted(
    change: Callable[[Tensor, torch.Generator], Mixed] | None = None,
    config: Any = None,
    told: bool = True,
) -> Any:
    class Planted:
        Config: ClassVar[Any] = config or type("PlantedConfig", (Config,), {})

        def __init__(self, config: Any) -> None:
            self.config = config

        def __repr__(self) -> str:
            return f"Planted({self.config!r})" if told else "Planted"

        def __call__(self, images: Tensor, random: torch.Generator) -> Mixed:
            assert change is not None
            return change(images, random)

    return Planted
