"""What a training consists of: the family's recipe, overlaid with what the user decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import nn

from clearsight.core.errors import ConfigError, UnknownKeyError
from clearsight.core.nouns import Task
from clearsight.core.registry import Registry
from clearsight.learn.augment import AUGMENTS, Chain, build_augment
from clearsight.learn.averaging import AVERAGES, NONE, Averaging
from clearsight.learn.family import Facts, Job
from clearsight.learn.hardening import Hardening, build_hardening
from clearsight.learn.losses import LOSSES, Loss
from clearsight.learn.mixes import MIXES, Mix
from clearsight.learn.optimizers import OPTIMIZERS, Groups, Optimizer
from clearsight.learn.samplers import SAMPLERS, Sampler
from clearsight.learn.schedules import SCHEDULES, Schedule
from clearsight.learn.training import Choice, Training

TIMM = "timm:"
TASK_LOSSES: dict[Task, str] = {
    "multi-label": "binary-cross-entropy",
    "ordinal": "ranked-probability",
}
"""What families' own loss gives way to where labels are of another kind."""
MAY_BE_NONE = ("averaging", "mix")
SIMPLE = {"schedule": SCHEDULES, "averaging": AVERAGES, "mix": MIXES, "sampler": SAMPLERS}


@dataclass(frozen=True)
class Recipe:
    """How a family trains its network where the user decides nothing else.

    Args:
        lr: peak learning rate.
        optimizer, schedule, loss, averaging, mix, sampler: a key of the registry of that name, or
            a `Choice` with options; averaging and mix may be "none".
        weight_decay: of matrices and kernels.
        batch_size: pictures a batch; smaller when the training part is smaller.
        accumulate: batches whose gradients are summed before the optimizer steps.
        clip: largest norm of the whole gradient, or None.
        augment: keys of the augmentation registry, applied in this order.
        max_epochs: most passes under a deadline; a longer budget is not used up.
        groups: returns torch parameter groups of (network, lr, weight_decay), each with "params"
            and, where they differ, "lr" and "weight_decay"; None parts matrices from vectors.
        prepare_step: called as (network, progress in [0, 1]) before each step, for example to
            freeze or unfreeze layers.
    """

    lr: float
    optimizer: str | Choice = "adamw"
    weight_decay: float = 0.0
    loss: str | Choice = "cross-entropy"
    batch_size: int = 256
    accumulate: int = 1
    clip: float | None = None
    augment: Sequence[str | Choice] = ()
    mix: str | Choice = NONE
    sampler: str | Choice = "shuffle"
    schedule: str | Choice = "one-cycle"
    averaging: str | Choice = NONE
    max_epochs: float = 100
    groups: Callable[[nn.Module, float, float], Groups] | None = None
    prepare_step: Callable[[nn.Module, float], None] | None = None


@dataclass(frozen=True)
class Pipeline:
    """A recipe in which everything is decided and built.

    Args:
        told: every choice with all of its options, JSON-ready; equal for equal pipelines only.
        lr, weight_decay, batch_size, accumulate, clip: see `Recipe`.
        loss, optimizer, schedule, averaging, augment, mix, sampler: what the keys stand for.
        hardening: what the loss of a step is taken on, or None for the pictures as they are.
    """

    told: dict[str, Any]
    lr: float
    weight_decay: float
    batch_size: int
    accumulate: int
    clip: float | None
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    averaging: Averaging | None
    augment: Chain | None
    mix: Mix | None
    sampler: Sampler
    hardening: Hardening | None = None


def resolve(recipe: Recipe, job: Job) -> Pipeline:
    """Overlay what the user decided on a family's recipe, and build it.

    A key that the user gives comes with its own options' defaults, not with the family's options;
    an optimizer given without a rate comes with its own usual rate.

    Args:
        recipe: the family's.
        job: gives the user's decisions, the kind of label, and the training pictures.

    Raises:
        UnknownKeyError: no such loss, optimizer, schedule, averaging, augmentation, mix, sampler.
        ConfigError: an option that the chosen one lacks, or a wrong value.
    """
    defaults = {name: getattr(recipe, name) for name in Training.model_fields}
    if job.task in TASK_LOSSES:
        defaults["loss"] = TASK_LOSSES[job.task]
    decided = Training.parse(defaults | job.training.given())
    told: dict[str, Any] = decided.model_dump(mode="json")
    build = _Builder(job.task, told)
    optimizer = build.optimizer(decided.optimizer)
    told["lr"] = _rate(decided, job.training, optimizer)
    hardening = None if job.harden is None else build_hardening(job.harden, job.task)
    if hardening is not None and job.harden is not None:
        options = hardening.config.model_dump(mode="json")
        told["harden"] = {"name": job.harden.name, "options": options}
    augment = build_augment(decided.augment or (), job)
    told["augment"] = [
        {"name": choice.name, "options": step.config.model_dump(mode="json")}
        for choice, step in zip(
            decided.augment or (), augment.steps if augment else (), strict=True
        )
    ]
    return Pipeline(
        lr=told["lr"],
        weight_decay=told["weight_decay"],
        batch_size=told["batch_size"],
        accumulate=told["accumulate"],
        clip=told["clip"],
        loss=build.one("loss", LOSSES, decided.loss, class_counts(job)),
        optimizer=optimizer,
        schedule=build.one("schedule", SCHEDULES, decided.schedule),
        averaging=build.one("averaging", AVERAGES, decided.averaging),
        augment=augment,
        mix=build.one("mix", MIXES, decided.mix),
        sampler=build.one("sampler", SAMPLERS, decided.sampler),
        hardening=hardening,
        told=told,
    )


def check_choices(training: Training, facts: Facts) -> None:
    """Refuse a wrong key or option before anything is written.

    Args:
        training: the user's decisions.
        facts: gives the kind of label and the pictures per class.

    Raises:
        UnknownKeyError: no such loss, optimizer, schedule, averaging, augmentation, mix, sampler.
        ConfigError: an option that the chosen one lacks, or a wrong value.
    """
    build = _Builder(facts.task, {})
    if training.optimizer is not None:
        _rate(Training(lr=1.0), training, build.optimizer(training.optimizer))
    if training.loss is not None:
        build.one("loss", LOSSES, training.loss, facts.class_counts)
    for field, registry in SIMPLE.items():
        if (choice := getattr(training, field)) is not None:
            build.one(field, registry, choice)
    for choice in training.augment or ():
        build.one("augment", AUGMENTS, choice)


def class_counts(job: Job) -> tuple[int, ...]:
    """Return the training pictures per class."""
    if job.train_labels.ndim == 2:
        return tuple(int(count) for count in job.train_labels.sum(axis=0))
    counts = np.bincount(job.train_labels, minlength=len(job.classes))
    return tuple(int(count) for count in counts)


class _Builder:
    """Loads, configures and checks what choices name; notes all options in `told`."""

    def __init__(self, task: Task, told: dict[str, Any]) -> None:
        self.task, self.told = task, told

    def one(self, field: str, registry: Registry, choice: Choice | None, *more: Any) -> Any:
        assert choice is not None
        made, self.told[field] = self._made(field, registry, choice, *more)
        return made

    def optimizer(self, choice: Choice | None) -> Optimizer:
        assert choice is not None
        if not choice.name.startswith(TIMM):
            if choice.name not in OPTIMIZERS.keys():  # noqa: SIM118 - a registry is no mapping
                known = [*OPTIMIZERS.keys(), "timm:NAME"]
                raise UnknownKeyError("optimizer", choice.name, known)
            made: Optimizer = self.one("optimizer", OPTIMIZERS, choice)
            return made
        from clearsight.learn.optimizers._timm import TimmOptimizer

        return cast("Optimizer", TimmOptimizer(choice.name.removeprefix(TIMM), choice.options))

    def _made(self, field: str, registry: Registry, choice: Choice, *more: Any) -> tuple[Any, Any]:
        if choice.name == NONE and field in MAY_BE_NONE:
            if choice.options:
                raise ConfigError(f"training.{field} is 'none', which has no options.")
            return None, {"name": NONE, "options": {}}
        make = registry.load(choice.name)
        try:
            config = make.Config.parse(choice.options)
        except ConfigError as error:
            raise ConfigError(f"training.{field} {choice.name!r}: {error}") from error
        self._check_task(field, registry, make, choice.name)
        return make(config, *more), {
            "name": choice.name,
            "options": config.model_dump(mode="json"),
        }

    def _check_task(self, field: str, registry: Registry, make: Any, name: str) -> None:
        if self.task in getattr(make, "tasks", (self.task,)):
            return
        able = [key for key in registry.keys() if self.task in registry.load(key).tasks]  # noqa: SIM118
        raise ConfigError(
            f"training.{field}={name} does not take {self.task} labels. Allowed: {', '.join(able)}."
        )


def _rate(decided: Training, training: Training, optimizer: Optimizer) -> float:
    """Return the peak rate: the user's, else a newly chosen optimizer's own, else the family's."""
    assert decided.lr is not None
    if training.lr is not None or training.optimizer is None:
        return decided.lr
    if optimizer.lr is None:
        raise ConfigError(
            f"training.optimizer={training.optimizer.name} has no usual learning rate; "
            "give one with training.lr."
        )
    return optimizer.lr
