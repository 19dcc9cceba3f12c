"""PGD that chooses the length of its steps by how the loss goes: what APGD attacks run."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import Differentiable, PixelsNHWC
from clearsight.robust.attacks import Labels
from clearsight.robust.steps import Objective, Values, fooled, project

MOMENTUM = 0.75
ENOUGH_RISES = 0.75
FIRST_CHECK, CHECK_LESS, LEAST_CHECK = 0.22, 0.03, 0.06


@dataclass
class _State:
    """What is known of the pictures that are still right, first axis n each."""

    place: Labels
    clean: PixelsNHWC
    labels: Labels
    targets: Labels
    current: PixelsNHWC
    previous: PixelsNHWC
    gradient: PixelsNHWC
    best: PixelsNHWC
    best_gradient: PixelsNHWC
    loss: Values
    best_loss: Values
    checked_loss: Values
    step: NDArray[np.float32]
    rises: Labels
    halved: NDArray[np.bool_]

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Forget the other pictures."""
        if not mask.all():
            for field in fields(self):
                setattr(self, field.name, getattr(self, field.name)[mask])


def auto_pgd(
    model: Differentiable,
    pixels: PixelsNHWC,
    labels: Labels,
    radius: float,
    random: np.random.Generator,
    steps: int,
    objective: Objective,
    targets: Labels | None = None,
) -> PixelsNHWC:
    """Return changed pictures: the first found that is wrong, else that of the largest loss.

    Args:
        model: gives gradients.
        pixels: (n, h, w, c) float32 in [0, 255].
        labels: (n,) the true columns.
        radius: in grey levels.
        random: decides the start.
        steps: how many.
        objective: what is made large.
        targets: (n,) the columns aimed at, where the objective aims at one.

    Source: Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of
        Diverse Parameter-free Attacks", algorithm 1.
    """
    noise = random.uniform(-1, 1, pixels.shape).astype(np.float32)
    largest = np.abs(noise).max(axis=(1, 2, 3), keepdims=True)
    start = project(pixels + np.float32(radius) * noise / largest, pixels, radius)
    found = start.copy()
    aims = labels if targets is None else targets
    state = _begin(model, pixels, labels, aims, start, radius, objective)
    until_check = check = max(int(FIRST_CHECK * steps), 1)
    for number in range(steps):
        if not len(state.place):
            break
        _move(state, radius, first=number == 0)
        _look(model, state, objective, found)
        until_check -= 1
        if until_check == 0:
            _adapt(state, check)
            check = max(check - max(int(CHECK_LESS * steps), 1), max(int(LEAST_CHECK * steps), 1))
            until_check = check
    found[state.place] = state.best
    return found


def _begin(
    model: Differentiable,
    pixels: PixelsNHWC,
    labels: Labels,
    targets: Labels,
    start: PixelsNHWC,
    radius: float,
    objective: Objective,
) -> _State:
    n = len(labels)
    slope = model.gradient(start, objective.of(labels, targets))
    loss = objective.value(slope.logits, labels, targets)
    state = _State(
        place=np.arange(n),
        clean=pixels,
        labels=labels,
        targets=targets,
        current=start,
        previous=start.copy(),
        gradient=slope.gradients,
        best=start.copy(),
        best_gradient=slope.gradients.copy(),
        loss=loss,
        best_loss=loss.copy(),
        checked_loss=loss.copy(),
        step=np.full((n, 1, 1, 1), 2 * radius, np.float32),
        rises=np.zeros(n, np.int64),
        halved=np.ones(n, np.bool_),
    )
    state.keep(~fooled(slope.logits, labels))
    return state


def _move(state: _State, radius: float, first: bool) -> None:
    """Take a step along the sign of the gradient, with some of the last movement."""
    inertia = state.current - state.previous
    state.previous = state.current
    aim = project(state.current + state.step * np.sign(state.gradient), state.clean, radius)
    share = np.float32(1.0 if first else MOMENTUM)
    moved = state.current + (aim - state.current) * share + inertia * (1 - share)
    state.current = project(moved, state.clean, radius)


def _look(model: Differentiable, state: _State, objective: Objective, found: PixelsNHWC) -> None:
    """Ask for loss and gradient; keep what is wrong in `found`, and the best of what is right."""
    slope = model.gradient(state.current, objective.of(state.labels, state.targets))
    loss = objective.value(slope.logits, state.labels, state.targets)
    state.rises += loss > state.loss
    state.loss, state.gradient = loss, slope.gradients
    better = loss > state.best_loss
    state.best[better] = state.current[better]
    state.best_gradient[better] = slope.gradients[better]
    state.best_loss = np.maximum(loss, state.best_loss)
    wrong = fooled(slope.logits, state.labels)
    found[state.place[wrong]] = state.current[wrong]
    state.keep(~wrong)


def _adapt(state: _State, check: int) -> None:
    """Halve the steps of pictures whose loss seldom rises or has not risen since the last check."""
    stuck = ~state.halved & (state.checked_loss >= state.best_loss)
    halve = (state.rises <= check * ENOUGH_RISES) | stuck
    state.checked_loss = state.best_loss.copy()
    state.rises = np.zeros_like(state.rises)
    state.halved = halve
    state.step[halve] /= 2
    state.current[halve] = state.best[halve]
    state.gradient[halve] = state.best_gradient[halve]
