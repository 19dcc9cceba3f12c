"""The one training loop: gradient descent within a budget, resumable bit for bit."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from clearsight.core.errors import ClearsightError, ConfigError, InterruptedRun, nearest
from clearsight.core.nouns import ImagesNHWC, Scores
from clearsight.core.seeds import derive_seed, generator
from clearsight.learn.family import Job
from clearsight.learn.losses import LOSSES
from clearsight.learn.trainers._checkpoint import (
    Checkpoint,
    read_checkpoint,
    remove_checkpoints,
    write_checkpoint,
)
from clearsight.learn.trainers._device import Device, choose_device, full_precision, repeatable
from clearsight.learn.trainers._optimizers import OPTIMIZERS, Groups, Optimizers, default_groups
from clearsight.learn.trainers._plan import Plan, one_cycle
from clearsight.learn.trainers._validation import Validation, network_logits, worth_keeping

WARM_UP_STEPS = 3  # not timed: the first steps allocate
TIMED_STEPS = 8
ATTEMPTS = 3


class Augment(Protocol):
    """Changes a batch of training pictures; called with its own seeded generator."""

    def __call__(
        self, images_nhwc: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
    ) -> Tensor:
        """Return uint8 (n, h', w', c) pictures.

        Args:
            images_nhwc: uint8 (n, h, w, c).
            numbers: (n,) int64, which training pictures these are.
            epoch: number of the current pass over the training part.
            random: the only source of randomness to use.
        """


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        lr: peak learning rate.
        optimizer: "adam", "adamw", "sgd" (Nesterov 0.9) or "muon" (kernels; AdamW at lr / 3 for
            the rest).
        weight_decay: of matrices and kernels; not used when `groups` are given.
        loss: key of the losses registry, with `loss_options` as its configuration.
        batch_size: pictures a step; smaller when the training part is smaller.
        augment: changes training pictures, or None.
        schedule: "one-cycle" or "constant".
        warmup: part of the run in which a one-cycle schedule rises.
        max_epochs: most passes under a deadline; a longer budget is not used up.
        groups: returns torch parameter groups (each may have `lr`, `weight_decay`).
        prepare_step: called as (network, progress in [0, 1]) before each step, for example to
            freeze or unfreeze layers.
    """

    lr: float
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    loss: str = "cross-entropy"
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 256
    augment: Augment | None = None
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    warmup: float = 0.2
    max_epochs: float = 100
    groups: Callable[[nn.Module], Groups] | None = None
    prepare_step: Callable[[nn.Module, float], None] | None = None


def train_network(network: nn.Module, job: Job, recipe: Recipe) -> dict[str, Any]:
    """Train a network within the job's budget and leave its best weights in it, on the CPU.

    Args:
        network: takes float32 (n, c, h, w) pixels in [0, 255] and returns logits (n, classes);
            its initial weights must follow from the job's seed alone.
        job: data, seed, budget, work folder and progress. What the work folder holds is resumed.
        recipe: optimizer, loss, schedule and augmentation.

    Returns:
        The story: steps, epochs, curve, plan, device, why it stopped. JSON-ready.

    Raises:
        InterruptedRun: Ctrl-C or SIGTERM; a checkpoint was written.
        ClearsightError: the loss became infinite or NaN again and again.
        ConfigError: unknown optimizer or schedule.
    """
    if recipe.optimizer not in OPTIMIZERS:
        raise ConfigError(f"Unknown optimizer.{nearest(recipe.optimizer, OPTIMIZERS)}")
    device = choose_device()
    with repeatable(device), _stop_signals() as stop:
        return _Training(network, job, recipe, device, stop).run()


def score_network(network: nn.Module, images_nhwc: ImagesNHWC) -> Scores:
    """Return (n, classes) float32 scores of uint8 (n, h, w, c) pictures, in full precision.

    Args:
        network: takes float32 (n, c, h, w) pixels in [0, 255]; it is left on the CPU.
    """
    device = replace(choose_device(), autocast=None)
    device.place(network)
    with full_precision():
        scores = network_logits(network, images_nhwc, device)
    network.to("cpu")
    return scores


class _DivergedError(Exception):
    """The loss is no number any more."""


class _Training:
    """One run of `train_network`."""

    def __init__(
        self, network: nn.Module, job: Job, recipe: Recipe, device: Device, stop: threading.Event
    ) -> None:
        self.network, self.job, self.recipe, self.device = network, job, recipe, device
        self.stop = stop
        self.batch = max(1, min(recipe.batch_size, len(job.train_labels)))
        self.steps_per_epoch = max(1, len(job.train_labels) // self.batch)
        loss = LOSSES.load(recipe.loss)
        self.loss = loss(loss.Config.parse(dict(recipe.loss_options)))
        self.identity = _identity(network, job, recipe, self.batch, device)
        job.work.mkdir(parents=True, exist_ok=True)
        self.plan = Plan(job.work / "plan.json", self.identity)
        device.place(network)
        self.initial = _copied(network)
        self.labels = torch.from_numpy(np.ascontiguousarray(job.train_labels))
        self.validation = Validation(job, device, self.batch, self.steps_per_epoch)
        self.clock = _Clock(job)
        self.step = 0
        self.best: dict[str, Tensor] = {}
        self.curve: list[dict[str, float]] = []
        self.best_entry: dict[str, float] = {}
        self.resumed_from: int | None = None
        self.order: tuple[int, Tensor] = (-1, torch.empty(0))

    def run(self) -> dict[str, Any]:
        """Train, resume or finish; see `train_network`."""
        started = time.monotonic()
        self._begin()
        self._resume()
        self.job.progress.start("train", *self.clock.extent(self.step, self.plan.total))
        try:
            while self.step < self.plan.total:
                try:
                    self._one_step()
                except _DivergedError:
                    self._restart()
        finally:
            self.job.progress.finish()
        if self.best:
            self.network.load_state_dict(self.best)
        self.network.to("cpu").eval()
        return self._story(time.monotonic() - started)

    def _one_step(self) -> None:
        self.clock.tick(self.step)
        loss = self._descend()
        self.step += 1
        note = ""
        if self.validation.due(self.step, self.plan.total):
            note = self._validate(loss)
        if self.job.budget.deadline is not None:
            self.clock.plan(self.step, self.plan, self._longest(), self._finishing_s())
        self.job.progress.advance(*self.clock.advance(self.step, self.batch, note, self.plan))
        if self.stop.is_set():
            self._save()
            raise InterruptedRun(
                f"Training stopped after step {self.step} of {self.plan.total}. "
                "Run the same command with --resume to continue."
            )
        if self.clock.checkpoint_due() and self.step < self.plan.total:
            self.clock.wrote_checkpoint(_timed(self._save))

    def _descend(self) -> float:
        """Take one optimizer step and return the loss."""
        progress = self.plan.progress(self.step)
        if self.recipe.prepare_step is not None:
            self.recipe.prepare_step(self.network, progress)
        torch.manual_seed(derive_seed(self.job.seed, "step", self.plan.attempt, self.step))
        images, labels = self._batch_at(self.step)
        self.network.train()
        with self.device.precision():
            logits = self.network(self.device.pixels(images))
        loss = self.loss(logits.float(), labels.to(self.device.name))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise _DivergedError
        loss.backward()
        factor = one_cycle(progress, self.recipe.warmup) if self._cycling else 1.0
        self.optimizers.step(factor * 0.5**self.plan.attempt)
        return value

    @property
    def _cycling(self) -> bool:
        return self.recipe.schedule == "one-cycle"

    def _batch_at(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, number = divmod(step, self.steps_per_epoch)
        if self.order[0] != epoch:
            shuffled = generator(self.job.seed, "order", epoch).permutation(len(self.labels))
            self.order = (epoch, torch.from_numpy(shuffled))
        chosen = self.order[1][number * self.batch : (number + 1) * self.batch]
        images = torch.from_numpy(self.job.train_images[chosen.numpy()])
        if self.recipe.augment is not None:
            random = torch.Generator().manual_seed(derive_seed(self.job.seed, "augment", step))
            images = self.recipe.augment(images, chosen, epoch, random)
        return images, self.labels[chosen]

    def _validate(self, loss: float) -> str:
        accuracy, val_loss = self.validation.score(self.network)
        entry = {
            "step": self.step,
            "epoch": round(self.step / self.steps_per_epoch, 3),
            "loss": round(loss, 6),
            "val_accuracy": round(accuracy, 6),
            "val_loss": round(val_loss, 6),
        }
        earlier = [past["val_accuracy"] for past in self.curve]
        self.curve.append(entry)
        if worth_keeping(accuracy, earlier, self.validation.n):
            self.best_entry, self.best = entry, _copied(self.network)
        return f"val {accuracy:.3f}"

    def _begin(self) -> None:
        self.network.load_state_dict(self.initial)
        groups = (
            self.recipe.groups(self.network)
            if self.recipe.groups
            else default_groups(self.network, self.recipe.weight_decay)
        )
        parts = OPTIMIZERS[self.recipe.optimizer](groups, self.recipe.lr)
        self.optimizers = Optimizers(self.network, parts)
        self.step, self.curve, self.best, self.best_entry = 0, [], {}, {}
        if not self.plan.decisions:
            self.plan.decide(0, self._longest(), "epochs")

    def _longest(self) -> int:
        epochs = self.job.budget.epochs
        return max(1, round((epochs or self.recipe.max_epochs) * self.steps_per_epoch))

    def _finishing_s(self) -> float:
        return self.validation.seconds

    def _restart(self) -> None:
        if self.plan.attempt + 1 >= ATTEMPTS:
            raise ClearsightError(
                f"Training diverged {ATTEMPTS} times (the loss is not a number), last with "
                f"learning rate {self.recipe.lr * 0.5**self.plan.attempt:g}. Give a smaller one."
            )
        self.plan.restart()
        remove_checkpoints(self.job.work)
        self.job.progress.say(
            "training diverged; starting again at half the learning rate", step=self.step
        )
        self._begin()

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "attempt": self.plan.attempt,
            "curve": self.curve,
            "best": self.best_entry,
            "threads": self.device.threads,
        }
        tensors = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        tensors |= {f"optimizer/{k}": v for k, v in self.optimizers.tensors().items()}
        write_checkpoint(self.job.work, Checkpoint(self.step, tensors, state))

    def _resume(self) -> None:
        found, damaged = read_checkpoint(self.job.work, self.identity)
        for name in damaged:
            self.job.progress.say("a damaged checkpoint was passed over", file=name)
        if found is None or found.state["attempt"] != self.plan.attempt:
            return
        self.network.load_state_dict(_under("network/", found.tensors))
        self.best = {
            name: torch.empty_like(self.initial[name]).copy_(value)
            for name, value in _under("best/", found.tensors).items()
        }
        self.optimizers.restore(_under("optimizer/", found.tensors))
        self.curve, self.best_entry = found.state["curve"], found.state["best"]
        self.step = self.resumed_from = found.step
        self.job.progress.say("training resumes", step=found.step)

    def _story(self, seconds: float) -> dict[str, Any]:
        return {
            "steps": self.step,
            "epochs": round(self.step / self.steps_per_epoch, 3),
            "batch_size": self.batch,
            "seconds": round(seconds, 3),
            "curve": self.curve,
            "best": self.best_entry,
            "plan": [decision.model_dump() for decision in self.plan.decisions],
            "learning_rate": self.recipe.lr * 0.5**self.plan.attempt,
            "attempts": self.plan.attempt + 1,
            "device": self.device.name,
            "precision": str(self.device.autocast or torch.float32).removeprefix("torch."),
            "threads": self.device.threads,
            "resumed_from": self.resumed_from,
        }


class _Clock:
    """Times steps, plans the run by the deadline, and says when a checkpoint is due."""

    def __init__(self, job: Job) -> None:
        self._budget = job.budget
        self._last_write = time.monotonic()
        self._interval_s = 10.0
        self._first_step: int | None = None
        self._ticks: list[tuple[int, float]] = []
        self._reported = time.monotonic()
        self._next_check = 0

    def tick(self, step: int) -> None:
        """Note that `step` begins."""
        if self._first_step is None:
            self._first_step = step
            self._next_check = step + WARM_UP_STEPS + TIMED_STEPS
        self._ticks.append((step, time.monotonic()))

    def plan(self, step: int, plan: Plan, longest: int, finishing_s: float) -> None:
        """Decide the number of steps by the clock: first after a few steps, then on drift."""
        left_s = self._budget.remaining_s() - finishing_s
        if left_s <= 0 and step < plan.total:
            plan.decide(step, step, "deadline")
            return
        if step < self._next_check or step >= plan.total:
            return
        total = min(longest, step + max(1, int(left_s / self._step_s())))
        drift = abs(total - plan.total) / max(1, plan.total - step)
        first = len(plan.decisions) == 1
        if first or (drift > 0.03 and (total < plan.total or plan.total < longest)):
            plan.decide(step, total, "measured step time")
        self._next_check = step + max(5, (plan.total - step) // 12)

    def _step_s(self) -> float:
        now = time.monotonic()
        usable = self._ticks[WARM_UP_STEPS:] or self._ticks
        span = usable[-max(TIMED_STEPS, len(usable) // 3) :]
        return (now - span[0][1]) / len(span)

    def extent(self, step: int, total: int) -> tuple[float, str]:
        """Return the total and unit for the progress bar."""
        if self._budget.deadline is not None:
            return self._budget.remaining_s(), "s"
        return float(total - step), "steps"

    def advance(self, step: int, batch: int, note: str, plan: Plan) -> tuple[float, str]:
        """Return what to report for the step just done."""
        now = time.monotonic()
        amount = now - self._reported if self._budget.deadline is not None else 1.0
        self._reported = now
        return amount, note

    def checkpoint_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._last_write > self._interval_s

    def wrote_checkpoint(self, seconds: float) -> None:
        """Keep the cost of checkpoints below 2 % of the time."""
        self._last_write = time.monotonic()
        self._interval_s = max(10.0, 50 * seconds)


def _timed(action: Callable[[], None]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _identity(network: nn.Module, job: Job, recipe: Recipe, batch: int, device: Device) -> str:
    """Return a digest of everything that decides the weights, the clock apart."""
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    values = {
        "shapes": shapes,
        "seed": job.seed,
        "epochs": job.budget.epochs,
        "recipe": [recipe.lr, recipe.optimizer, recipe.weight_decay, recipe.loss,
                   dict(recipe.loss_options), recipe.schedule, recipe.warmup, recipe.max_epochs,
                   repr(recipe.augment)],
        "batch": batch,
        "images": [list(job.train_images.shape), _digest(job.train_images[:64])],
        "labels": _digest(job.train_labels),
        "device": device.name,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _digest(values: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one acts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.getsignal(name) for name in names}

    def restore() -> None:
        for name, handler in before.items():
            signal.signal(name, handler)

    def ask(number: int, frame: Any) -> None:
        asked.set()
        restore()

    for name in names:
        signal.signal(name, ask)
    try:
        yield asked
    finally:
        restore()
