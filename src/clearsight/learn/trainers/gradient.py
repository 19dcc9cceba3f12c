"""The one training loop: gradient descent within a budget, resumable bit for bit."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from clearsight.core.errors import ClearsightError, ConfigError, InterruptedRun, nearest
from clearsight.core.nouns import ImagesNHWC, Scores
from clearsight.core.seeds import derive_seed, generator
from clearsight.learn.augment_sheet import write_sheet
from clearsight.learn.family import Job
from clearsight.learn.losses import LOSSES, Loss
from clearsight.learn.trainers._checkpoint import (
    Checkpoint,
    read_checkpoint,
    remove_checkpoints,
    write_checkpoint,
)
from clearsight.learn.trainers._clock import Clock
from clearsight.learn.trainers._device import Device, choose_device, full_precision, repeatable
from clearsight.learn.trainers._muon import Groups
from clearsight.learn.trainers._optimizers import OPTIMIZERS, Optimizers, default_groups
from clearsight.learn.trainers._plan import Plan, one_cycle
from clearsight.learn.trainers._signals import stop_signals
from clearsight.learn.trainers._validation import Validation, flat, network_logits, worth_keeping

ATTEMPTS = 3
PROVISIONAL_STEPS = 500  # lets the rate rise while the first steps are timed
PLATEAU = "plateau"
PLATEAU_SCORES = 10  # validation scores without improvement, and
PLATEAU_SHARE = 0.25  # at least this part of the plan


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
    with repeatable(device), stop_signals() as stop:
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
        self.loss: Loss = loss(loss.Config.parse(dict(recipe.loss_options)), _counts(job))
        self.identity = _identity(network, job, recipe, self.batch, device)
        job.work.mkdir(parents=True, exist_ok=True)
        self.plan = Plan(job.work / "plan.json", self.identity)
        device.place(network)
        self.initial = _copied(network)
        self.labels = torch.from_numpy(np.array(job.train_labels))
        self.validation = Validation(job, device, self.batch, self.steps_per_epoch)
        self.clock = Clock(job.budget)
        self.step = 0
        self.best: dict[str, Tensor] = {}
        self.curve: list[dict[str, float]] = []
        self.best_entry: dict[str, float] = {}
        self.resumed_from: int | None = None
        self.shown: dict[str, Any] | None = None
        self.order: tuple[int, Tensor] = (-1, torch.empty(0))

    def run(self) -> dict[str, Any]:
        """Train, resume or finish; see `train_network`."""
        started = time.monotonic()
        self._begin()
        self._resume()
        self.shown = write_sheet(self.job, self.recipe.augment, None)
        self.job.progress.start("train", *self.clock.extent(self.plan.total - self.step))
        try:
            while self.step < self.plan.total:
                try:
                    self._one_step()
                except _DivergedError:
                    self._restart()
        finally:
            self.job.progress.finish()
        if self.clock.checkpoint_due():
            self._save()  # what follows (export, gates) can fail without losing the training
        if self.best:
            self.network.load_state_dict(self.best)
        self.network.to("cpu").eval()
        return self._story(time.monotonic() - started)

    def _one_step(self) -> None:
        self.clock.tick(self.step)
        loss = self._descend()
        self.step += 1
        if self.job.budget.deadline is not None:
            finishing_s = (
                self.validation.seconds_for(self.clock.step_s(), self.batch)
                if self.clock.timed
                else 0.0
            )
            self.clock.plan(self.step, self.plan, self._longest(), finishing_s)
        note = f"epoch {self.step / self.steps_per_epoch:.1f}"
        if self.validation.due(self.step, self.plan.total):
            self._validate(loss)
            self._anneal_on_plateau()
        if self.curve:
            note += f", val {self.curve[-1]['val_accuracy']:.3f}"
        self.job.progress.advance(self.clock.advance(), note)
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
        loss = self.loss(logits.float(), labels.to(self.device.name), progress)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise _DivergedError
        loss.backward()  # type: ignore[no-untyped-call]
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

    def _validate(self, loss: float) -> None:
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

    def _anneal_on_plateau(self) -> None:
        """Under a deadline, bring the run to its end soon when validation has stopped improving."""
        if self.job.budget.epochs is not None or self.plan.has(PLATEAU) or not self._cycling:
            return
        window = max(
            PLATEAU_SCORES, math.ceil(PLATEAU_SHARE * self.plan.total / self.validation.every)
        )
        if flat([entry["val_loss"] for entry in self.curve], window):
            total = self.step + max(self.steps_per_epoch, self.step // 5)
            if total < self.plan.total:
                self.plan.decide(self.step, total, PLATEAU)
                self.job.progress.say("validation stopped improving; ending soon", step=self.step)

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
        if len(self.plan.decisions) > 1:
            self.clock.follow()
        if not self.plan.decisions:
            by_clock = self.job.budget.deadline is not None and self.job.budget.epochs is None
            first = min(self._longest(), PROVISIONAL_STEPS) if by_clock else self._longest()
            self.plan.decide(0, first, "before steps were timed" if by_clock else "epochs")

    def _longest(self) -> int:
        epochs = self.job.budget.epochs
        return max(1, round((epochs or self.recipe.max_epochs) * self.steps_per_epoch))

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
        if found.state["threads"] != self.device.threads:
            self.device = replace(self.device, threads=found.state["threads"])
            torch.set_num_threads(self.device.threads)
            self.job.progress.say("as many threads as before", threads=self.device.threads)
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
            "augmentation": self.shown,
        }


def _counts(job: Job) -> list[int]:
    if job.task == "multi-label":
        return [int(count) for count in job.train_labels.sum(axis=0)]
    counts = np.bincount(job.train_labels, minlength=len(job.classes))
    return [int(count) for count in counts]


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
                   _name(recipe.augment)],
        "batch": batch,
        "images": [list(job.train_images.shape), _digest(job.train_images[:64])],
        "labels": _digest(job.train_labels),
        "device": device.name,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _name(augment: object) -> str:
    """Return what an augmentation is and how it is set; an address would differ every time."""
    told = repr(augment)
    return type(augment).__name__ if " at 0x" in told else told


def _digest(values: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
