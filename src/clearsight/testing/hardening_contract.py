"""What every hardening in `learn/hardening/` must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from clearsight.core.config import Config
from clearsight.core.nouns import TASKS
from clearsight.learn.hardening import HARDENINGS, Step
from clearsight.testing.augment_contract import pictures
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_values

SHAPES = ((6, 28, 28, 1), (4, 9, 17, 3), (3, 1, 1, 3), (1, 2, 40, 1))
CLASSES = 3
SEEDS = range(3)
TOLERANCE = 1e-3


class HardeningContract(Contract):
    """Clauses every hardening satisfies; an implementation is its class."""

    registry = HARDENINGS

    def check_builds_from_defaults(self, hardening: Any) -> None:
        """Constructed from its default configuration, which survives JSON."""
        config = hardening.Config()
        assert isinstance(config, Config)
        assert hardening.Config.parse(config.model_dump(mode="json")) == config
        assert hardening(config).config == config

    def check_declares_what_it_is(self, hardening: Any) -> None:
        """`by_pictures` is true exactly of what has `pictures`; its tasks exist."""
        built = hardening(hardening.Config())
        assert hardening.by_pictures is callable(getattr(built, "pictures", None))
        assert hardening.tasks
        assert set(hardening.tasks) <= set(TASKS)

    def check_trial_gives_pictures(self, hardening: Any) -> None:
        """Finite float32 pixels of the same shape in [0, 255], which are not the plain ones."""
        for shape in SHAPES:
            for training in (True, False):
                step = step_of(shape, training=training)
                trial = hardening(hardening.Config()).trial(step)
                assert trial.dtype == torch.float32
                assert trial.shape == step.pixels(step.images_nhwc).shape
                assert bool(trial.isfinite().all())
                assert float(trial.min()) >= 0
                assert float(trial.max()) <= 255
        moved = hardening(hardening.Config()).trial(step_of(SHAPES[0]))
        assert not torch.equal(moved, step_of(SHAPES[0]).pixels(pictures(SHAPES[0])))

    def check_stays_in_its_ball(self, hardening: Any) -> None:
        """No value an attack asks the network about is more than eps away; bytes stay bytes."""
        built = hardening(hardening.Config())
        if hardening.by_pictures:
            random = torch.Generator().manual_seed(0)
            changed = built.pictures(pictures(SHAPES[0]), random)
            assert changed.dtype == torch.uint8
            assert changed.shape == SHAPES[0]
            return
        for name, configs in {"default": [built.config], **other_values(built.config)}.items():
            for config in configs:
                step = step_of(SHAPES[0])
                hardening(config).loss(step)
                asked = [*_asked(step), hardening(config).trial(step)]
                moved = torch.stack(asked) - step.pixels(step.images_nhwc)
                assert float(moved.abs().max()) <= 255 * config.eps + TOLERANCE, name
                assert float(torch.stack(asked).min()) >= 0
                assert float(torch.stack(asked).max()) <= 255

    def check_leaves_everything_alone(self, hardening: Any) -> None:
        """A trial changes neither the pictures nor the network, and leaves no gradients."""
        for training in (True, False):
            step = step_of(SHAPES[0], training=training)
            images = step.images_nhwc.clone()
            before = {name: value.clone() for name, value in step.network.state_dict().items()}
            hardening(hardening.Config()).trial(step)
            assert torch.equal(images, step.images_nhwc)
            for name, value in step.network.state_dict().items():
                assert torch.equal(before[name], value), name
            assert step.network.training is training
            assert all(weight.grad is None for weight in step.network.parameters())

    def check_loss_teaches(self, hardening: Any) -> None:
        """The loss is a finite scalar, and every weight gets a finite gradient from it."""
        step = step_of(SHAPES[0])
        images = step.images_nhwc.clone()
        loss = hardening(hardening.Config()).loss(step)
        assert loss.shape == ()
        loss.backward()  # type: ignore[no-untyped-call]
        assert bool(loss.isfinite())
        assert torch.equal(images, step.images_nhwc)
        for name, weight in step.network.named_parameters():
            assert weight.grad is not None, name
            assert bool(weight.grad.isfinite().all()), name
            assert float(weight.grad.abs().sum()) > 0, name

    def check_attack_raises_the_loss(self, hardening: Any) -> None:
        """An attack makes the loss larger than the plain pictures' and than random noise's."""
        if hardening.by_pictures:
            return
        built = hardening(hardening.Config())
        for seed in SEEDS:
            step = step_of((32, 12, 12, 1), seed=seed, training=False)
            plain = step.pixels(step.images_nhwc)
            radius = 255 * built.config.eps
            noise = radius * torch.randn(plain.shape, generator=step.random).sign()
            losses = [
                float(step.loss(step.logits(pixels)).detach())
                for pixels in (plain, (plain + noise).clamp(0, 255), built.trial(step))
            ]
            assert losses[2] > max(losses[:2])

    def check_is_seeded(self, hardening: Any) -> None:
        """The generator it is given decides, whatever torch's own is at."""
        found = []
        for other in (1, 2):
            torch.manual_seed(other)
            built = hardening(hardening.Config())
            step = step_of(SHAPES[0])
            torch.manual_seed(other)
            found.append((built.trial(step), built.loss(step).detach()))
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])

    def check_every_option_matters(self, hardening: Any) -> None:
        """Every option, given another value, gives another loss."""
        default = hardening.Config()
        for name, configs in other_values(default).items():
            assert any(
                loss_of(hardening, config, seed) != loss_of(hardening, default, seed)
                for config in configs
                for seed in SEEDS
            ), f"the option {name!r} does nothing"

    def check_cost_is_true(self, hardening: Any) -> None:
        """As many forward passes a picture as it says, whatever its options."""
        default = hardening.Config()
        for configs in {"default": [default], **other_values(default)}.values():
            step = step_of(SHAPES[0])
            hardening(configs[0]).loss(step)
            seen = sum(len(pixels) for pixels in _asked(step))
            assert seen / SHAPES[0][0] == hardening(configs[0]).cost

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        return {
            "check_builds_from_defaults": _planted(config=object),
            "check_declares_what_it_is": _planted(by_pictures=True),
            "check_trial_gives_pictures": _planted(trial=lambda step, eps: _plain(step) + 300),
            "check_stays_in_its_ball": _planted(
                trial=lambda step, eps: (_plain(step) + 300 * eps).clamp(0, 255)
            ),
            "check_leaves_everything_alone": _planted(trial=_forgetful),
            "check_loss_teaches": _planted(
                loss=lambda step: step.loss(step.logits(_plain(step))).detach()
            ),
            "check_attack_raises_the_loss": _planted(trial=lambda step, eps: _plain(step)),
            "check_is_seeded": _planted(trial=lambda step, eps: _noisy(step, eps, None)),
            "check_every_option_matters": _planted(),
            "check_cost_is_true": _planted(cost=5.0),
        }


class Asked(nn.Module):
    """A small network with batch normalisation that remembers which pictures it has seen."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, CLASSES)
        self.asked: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (n, CLASSES)."""
        self.asked.append(pixels.detach())
        maps = torch.relu(self.norm(self.conv(pixels / 255)))
        scores: Tensor = self.head(3 * maps.mean((2, 3)))
        return scores


def step_of(shape: tuple[int, ...], seed: int = 0, training: bool = True) -> Step:
    """Return a step on random pictures and labels.

    Args:
        shape: of the pictures, (n, h, w, c).
        seed: of its random numbers.
        training: whether the network is in training mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = Asked(shape[3]).train(training)
    images = pictures(shape)
    labels = torch.arange(len(images)) % CLASSES

    def pixels(images_nhwc: Tensor) -> Tensor:
        return images_nhwc.permute(0, 3, 1, 2).float()

    def loss(logits: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels)

    random = torch.Generator().manual_seed(seed)
    return Step(images, network, pixels, network, loss, random)


def loss_of(hardening: Any, config: Any, seed: int) -> float:
    """Return a hardening's loss with a configuration."""
    return float(hardening(config).loss(step_of((8, 16, 12, 3), seed)).detach())


class _Options(Config):
    eps: float = Field(default=0.05, gt=0, le=0.5)
    nothing: float = Field(default=0.5)


def _asked(step: Step) -> list[Tensor]:
    assert isinstance(step.network, Asked)
    return step.network.asked


def _plain(step: Step) -> Tensor:
    return step.pixels(step.images_nhwc)


def _noisy(step: Step, eps: float, random: torch.Generator | None) -> Tensor:
    noise = 255 * eps * (2 * torch.rand(_plain(step).shape, generator=random) - 1)
    return (_plain(step) + noise).clamp(0, 255)


def _forgetful(step: Step, eps: float) -> Tensor:
    step.loss(step.logits(_plain(step))).backward()  # type: ignore[no-untyped-call]
    return _plain(step)


def _planted(
    trial: Callable[[Step, float], Tensor] | None = None,
    loss: Callable[[Step], Tensor] | None = None,
    config: Any = None,
    by_pictures: bool = False,
    cost: float = 1.0,
) -> Any:
    told, harder, costs, descended = by_pictures, trial, cost, loss

    class Planted:
        Config: ClassVar[Any] = config or _Options
        by_pictures: ClassVar[bool] = told
        tasks: ClassVar[Any] = TASKS
        cost = costs

        def __init__(self, config: Any) -> None:
            self.config = config

        def trial(self, step: Step) -> Tensor:
            if harder is not None:
                return harder(step, self.config.eps)
            return _noisy(step, self.config.eps, step.random)

        def loss(self, step: Step) -> Tensor:
            if descended is not None:
                return descended(step)
            return step.loss(step.logits(self.trial(step)))

    return Planted
