"""Pictures moved, within a small ball, to where the network's loss is larger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clearsight.core.nouns import TASKS, Task
from clearsight.learn.hardening import Step

TRIAL_STEPS = 10
TRIAL_REACH = 2.5
"""All steps of a trial together go so many times the ball's radius."""
EPS = 8 / 255
"""The literature's usual radius for colour photos; 0.1 is usual for Fashion-MNIST."""


class Adversarial:
    """Base of the hardenings that attack the network while it learns.

    Weights are judged by projected gradient ascent of `TRIAL_STEPS` steps whatever the training
    attack is: a network that has learnt to hide from a one-step attack alone is found out.

    Args:
        config: its options, `eps` among them.
    """

    by_pictures: ClassVar[bool] = False
    tasks: ClassVar[tuple[Task, ...]] = TASKS

    def __init__(self, config: Any) -> None:
        self.config = config

    def trial(self, step: Step) -> Tensor:
        """Return the pictures after projected gradient ascent from a random start."""
        radius = 255 * self.config.eps
        pixels = step.pixels(step.images_nhwc)
        start = pixels + uniform(pixels, radius, step.random)
        size = TRIAL_REACH * radius / TRIAL_STEPS
        return ascended(step, pixels, start, radius, size, TRIAL_STEPS, step.loss)


def uniform(pixels: Tensor, reach: float, random: torch.Generator) -> Tensor:
    """Return noise of the pixels' shape, even in [-reach, reach)."""
    noise = (2 * torch.rand(pixels.shape, generator=random) - 1) * reach
    return noise.to(pixels.device)


def ascended(
    step: Step,
    pixels: Tensor,
    start: Tensor,
    radius: float,
    size: float,
    steps: int,
    objective: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return pixels within the ball and the pixel range after ascending by the gradient's sign.

    Args:
        step: gives the network; its weights, their gradients and its statistics stay as they are.
        pixels: float32 (n, c, h, w) in [0, 255], the middle of the ball.
        start: where to begin; brought into the ball first.
        radius: of the ball, the largest change of a value.
        size: of a step, in values.
        steps: how many.
        objective: of the logits, to be made large.

    Source:
        Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks (2018),
        section 2.1.
    """
    low, high = (pixels - radius).clamp(0, 255), (pixels + radius).clamp(0, 255)
    moved = start.detach().clamp(low, high)
    with kept_statistics(step.network), torch.enable_grad():
        for _ in range(steps):
            moved.requires_grad_(True)
            (gradient,) = torch.autograd.grad(objective(step.logits(moved)), [moved])
            moved = (moved.detach() + size * gradient.sign()).clamp(low, high)
    return moved


@contextmanager
def kept_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation work on the batch without noting it, inside the block.

    The pictures on the way to the last ones are not what the network is to be used on.
    """
    norms = [
        part
        for part in network.modules()
        if isinstance(part, _BatchNorm) and part.training and part.track_running_stats
    ]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
