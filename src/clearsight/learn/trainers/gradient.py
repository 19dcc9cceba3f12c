"""The one training loop: gradient descent within a budget, resumable bit for bit."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from clearsight.core.errors import ClearsightError, InterruptedRun
from clearsight.core.seeds import derive_seed
from clearsight.learn.augment_sheet import write_sheet
from clearsight.learn.family import Job
from clearsight.learn.trainers._averages import ESTIMATE_PICTURES, Averages
from clearsight.learn.trainers._batches import Batch, Batches
from clearsight.learn.trainers._checkpoint import (
    Checkpoint,
    read_checkpoint,
    remove_checkpoints,
    write_checkpoint,
)
from clearsight.learn.trainers._clock import Clock
from clearsight.learn.trainers._device import Device, choose_device, repeatable
from clearsight.learn.trainers._divergence import cause, finite, told_of_divergence
from clearsight.learn.trainers._hardened import step_loss
from clearsight.learn.trainers._identity import identity
from clearsight.learn.trainers._memory import free_memory, out_of_memory
from clearsight.learn.trainers._optimizers import Optimizers, default_groups
from clearsight.learn.trainers._plan import Plan
from clearsight.learn.trainers._signals import stop_signals
from clearsight.learn.trainers._sparkline import sparkline
from clearsight.learn.trainers._validation import Validation, flat, regret, worth, worth_keeping
from clearsight.learn.trainers._validation import score_network as score_network
from clearsight.learn.trainers.recipe import Recipe as Recipe
from clearsight.learn.trainers.recipe import resolve

ATTEMPTS = 3
PROVISIONAL_STEPS = 500  # lets the rate rise while the first steps are timed
PLATEAU = "plateau"
PLATEAU_SCORES = 10  # validation scores without improvement, and
PLATEAU_SHARE = 0.25  # at least this part of the plan
ANNEALED = 0.5  # a schedule that ends below this has an end worth coming to sooner
TRACKED_A_PASS = 20


def train_network(network: nn.Module, job: Job, recipe: Recipe) -> dict[str, Any]:
    """Train a network within the job's budget and leave its best weights in it, on the CPU.

    Args:
        network: takes float32 (n, c, h, w) pixels in [0, 255] and returns logits (n, classes);
            its initial weights must follow from the job's seed alone.
        job: data, seed, budget, work folder and progress. What the work folder holds is resumed.
            What `job.training` decides goes before the recipe.
        recipe: the family's own choices.

    Returns:
        The story: recipe as resolved, steps, epochs, curve, plan, device. JSON-ready.

    Raises:
        InterruptedRun: Ctrl-C or SIGTERM; a checkpoint was written.
        ClearsightError: the loss became infinite or NaN; the message says where and what to do.
        ConfigError: an unknown key or a wrong option.
    """
    device = choose_device()
    with repeatable(device), stop_signals() as stop:
        return _Training(network, job, recipe, device, stop).run()


class _Training:
    """One run of `train_network`."""

    def __init__(
        self, network: nn.Module, job: Job, recipe: Recipe, device: Device, stop: threading.Event
    ) -> None:
        self.network, self.job, self.recipe, self.device = network, job, recipe, device
        self.stop = stop
        self.pipeline = resolve(recipe, job)
        n = len(job.train_labels)
        self.batch = max(1, min(self.pipeline.batch_size, n))
        self.accumulate = max(1, min(self.pipeline.accumulate, n // self.batch))
        self.batches = Batches(job, self.pipeline, self.batch * self.accumulate)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.identity = identity(network, job, recipe, self.pipeline, device)
        job.work.mkdir(parents=True, exist_ok=True)
        self.plan = Plan(job.work / "plan.json", self.identity)
        device.place(network)
        self.initial = _copied(network)
        more = ESTIMATE_PICTURES if self.pipeline.averaging else 0
        sizes = (self.batches.size, self.steps_per_epoch, more)
        self.validation = Validation(job, device, self.plan, *sizes, self.pipeline.hardening)
        self.clock = Clock(job.budget)
        self.step = 0
        self.best: dict[str, Tensor] = {}
        self.curve: list[dict[str, float]] = []
        self.best_entry: dict[str, float] = {}
        self.resumed_from: int | None = None
        self.shown: dict[str, Any] | None = None

    def run(self) -> dict[str, Any]:
        """Train, resume or finish; see `train_network`."""
        started = time.monotonic()
        self._begin()
        self._resume()
        self.shown = write_sheet(self.job, self.pipeline.augment, self.pipeline.mix)
        self.job.progress.start("train", *self.clock.extent(self.plan.total - self.step))
        try:
            while self.step < self.plan.total:
                try:
                    self._one_step()
                except FloatingPointError:
                    self._restart()
        finally:
            self.job.progress.finish()
        if self.clock.checkpoint_due():
            self._save()  # what follows (export, gates) can fail without losing the training
        if self.best:
            self.network.load_state_dict(self.best)
        elif self.averages.ready:
            self.averages.take_over(self.network, self.job, self.device, self.batch)
        self.network.to("cpu").eval()
        return self._story(time.monotonic() - started)

    def _one_step(self) -> None:
        self.clock.tick(self.step)
        loss = self._descend()
        self.step += 1
        if self.job.budget.deadline is not None:
            finishing_s = 0.0
            if self.clock.timed:
                self.validation.spare(self.step, self.clock.step_s())
                finishing_s = self.validation.seconds_for(self.clock.step_s(), self.batches.size)
            self.clock.plan(self.step, self.plan, self._longest(), finishing_s)
        if self.validation.due(self.step, self.plan.total):
            self._validate(loss)
            self._anneal_on_plateau()
        elif self.step % max(1, self.steps_per_epoch // TRACKED_A_PASS) == 0:
            self.job.track(self.step, {"loss": loss, "learning_rate": self._rate(self.step - 1)})
        self.job.progress.advance(self.clock.advance(), self._note())
        if self.stop.is_set():
            self._save()
            raise InterruptedRun(
                f"Training stopped after step {self.step} of {self.plan.total}. "
                "Run the same command with --resume to continue."
            )
        if self.clock.checkpoint_due() and self.step < self.plan.total:
            self.clock.write_checkpoint(self._save)

    def _descend(self) -> float:
        """Take one optimizer step and return the loss."""
        progress = self.plan.progress(self.step)
        if not self.network.training:
            self.network.train()
        if self.recipe.prepare_step is not None:
            self.recipe.prepare_step(self.network, progress)
        batch = self.batches.at(self.step, self.plan)
        value = self._gradients(batch, progress)
        clip = self.pipeline.clip
        length = 0.0 if clip is None else self.optimizers.clip(clip)
        if not math.isfinite(value) or not math.isfinite(length):
            raise FloatingPointError
        self.optimizers.step(self._rate(self.step) / self.pipeline.lr)
        self.averages.update(progress)
        return value

    def _rate(self, step: int) -> float:
        """Return the learning rate of a step; groups with a peak of their own keep to its ratio."""
        scheduled = self.pipeline.schedule(self.plan.progress(step))
        return self.pipeline.lr * scheduled * self.plan.rate(step)

    def _gradients(self, batch: Batch, progress: float) -> float:
        """Leave the gradients of a batch in the network and return the mean loss.

        Where memory runs out, the batch is cut into twice as many parts; what the failed try did
        to the network's buffers is undone, so that a resumed run ends with the same weights.
        """
        before = [buffer.clone() for buffer in self.buffers]
        while True:
            parts = self.accumulate * self.plan.splits(self.step)
            try:
                return self._summed(batch, parts, progress)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if parts >= len(batch):
                    raise ClearsightError(
                        "Training does not fit into memory, even with one picture at a time. "
                        "Give a smaller model or smaller pictures."
                    ) from error
            self.optimizers.drop_gradients()
            free_memory()
            self.plan.change(self.step, "split")
            for buffer, value in zip(self.buffers, before, strict=True):
                buffer.copy_(value)
            self.job.progress.say(
                "out of memory; fewer pictures at once, as many a step as before",
                at_once=max(1, self.batch // self.plan.splits(self.step)),
                a_step=self.batches.size,
            )

    def _summed(self, batch: Batch, parts: int, progress: float) -> float:
        self.device.seed(derive_seed(self.job.seed, "step", self.plan.attempt, self.step))
        total = 0.0
        for part in batch.parts(parts):
            loss = self._loss(part, progress) * (len(part) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _loss(self, batch: Batch, progress: float) -> Tensor:
        return step_loss(self.network, self.device, batch, self.pipeline, progress)

    def _validate(self, loss: float) -> None:
        started = time.monotonic()
        with self.averages.in_place(self.network, self.job, self.device, self.batch):
            score = self.validation.score(self.network)
            if not math.isfinite(score["val_loss"]):
                raise FloatingPointError
            epoch = round(self.step / self.steps_per_epoch, 3)
            entry = {"step": self.step, "epoch": epoch, "loss": round(loss, 6), **score}
            earlier = [worth(past) for past in self.curve]
            self.curve.append(entry)
            if worth_keeping(worth(entry), earlier, self.validation.judged):
                self.best_entry, self.best = entry, _copied(self.network)
        self.validation.took(time.monotonic() - started)
        told = {name: value for name, value in entry.items() if name != "step"}
        self.job.track(self.step, told | {"learning_rate": self._rate(self.step - 1)})
        self.job.report(self.plan.progress(self.step), score["val_accuracy"])

    def _note(self) -> str:
        note = f"epoch {self.step / self.steps_per_epoch:.1f}"
        if self.curve:
            scores = [entry["val_accuracy"] for entry in self.curve]
            note += f", val {scores[-1]:.3f} {sparkline(scores)}"
        return note

    def _anneal_on_plateau(self) -> None:
        """Under a deadline, bring the run to its end soon when validation has stopped improving."""
        if self.job.budget.epochs is not None or self.plan.has(PLATEAU):
            return
        if self.pipeline.schedule(1.0) > ANNEALED:
            return
        window = max(
            PLATEAU_SCORES, math.ceil(PLATEAU_SHARE * self.plan.total / self.validation.every)
        )
        if flat([regret(entry) for entry in self.curve], window):
            total = self.step + max(self.steps_per_epoch, self.step // 5)
            if total < self.plan.total:
                self.plan.decide(self.step, total, PLATEAU)
                self.job.progress.say("validation stopped improving; ending soon", step=self.step)

    def _begin(self) -> None:
        self.network.load_state_dict(self.initial)
        self.network.train()
        self.buffers = list(self.network.buffers())
        lr, decay = self.pipeline.lr, self.pipeline.weight_decay
        groups = (
            self.recipe.groups(self.network, lr, decay)
            if self.recipe.groups
            else default_groups(self.network, decay)
        )
        self.optimizers = Optimizers(self.network, self.pipeline.optimizer, groups, lr, decay)
        self.averages = Averages(self.network, self.pipeline.averaging)
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
        """After divergence begin again at half the rate, or stop where that cannot help."""
        reason = self._cause()
        if self.step == 0:
            raise ClearsightError(
                f"Training cannot begin: {reason}, before any step was taken, so another learning "
                "rate would not help. Look at the network's initial weights and the loss."
            )
        if self.plan.attempt + 1 >= ATTEMPTS:
            self.plan.stop()
            remove_checkpoints(self.job.work, self.step)  # the failed step began with that one
            raise ClearsightError(self._given_up(reason))
        told = "training diverged; starting again at half the learning rate"
        self.job.progress.say(told, step=self.step, cause=reason)
        self.plan.restart()
        remove_checkpoints(self.job.work)
        self._begin()

    def _cause(self) -> str:
        step = min(self.step, self.plan.total - 1)
        progress = self.plan.progress(step)
        self.device.seed(derive_seed(self.job.seed, "step", self.plan.attempt, step))
        batch = self.batches.at(step, self.plan)
        self.network.train()
        self.optimizers.drop_gradients()
        reason = cause(self.network, lambda: self._loss(batch, progress))
        self.optimizers.drop_gradients()
        return reason

    def _given_up(self, reason: str) -> str:
        kept = sorted(self.job.work.glob("step-*.safetensors"))
        where = divmod(self.step, self.steps_per_epoch)
        return told_of_divergence(
            f"Training diverged {ATTEMPTS} times, last at step {self.step} (pass {where[0] + 1}, "
            f"batch {where[1] + 1}) with learning rate {self._rate(self.step):.3g} "
            f"(peak {self.pipeline.lr * self.plan.rate(self.step):.3g}): {reason}.",
            kept[-1] if kept else None,
            self.best_entry.get("val_accuracy"),
        )

    def _save(self) -> None:
        network = self.network.state_dict()
        optimizer, scalars = self.optimizers.state()
        if not finite(iter([*network.values(), *optimizer.values()])):
            return  # the next step will say so; the checkpoint before this one is the good one
        state = {
            "identity": self.identity,
            "attempt": self.plan.attempt,
            "curve": self.curve,
            "best": self.best_entry,
            "threads": self.device.threads,
            "optimizer": scalars,
            "averaged": self.averages.taken,
        }
        tensors = {f"network/{k}": v for k, v in network.items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        tensors |= {f"optimizer/{k}": v for k, v in optimizer.items()}
        tensors |= {f"mean/{k}": v for k, v in self.averages.tensors().items()}
        write_checkpoint(self.job.work, Checkpoint(self.step, tensors, state))

    def _resume(self) -> None:
        found, damaged = read_checkpoint(self.job.work, self.identity)
        for name in damaged:
            self.job.progress.say("a damaged checkpoint was passed over", file=name)
        if found is None or found.state["attempt"] != self.plan.attempt:
            if self.plan.stopped:
                self.plan.restart()
                self._begin()
            return
        self.network.load_state_dict(_under("network/", found.tensors))
        self.best = {
            name: torch.empty_like(self.initial[name]).copy_(value)
            for name, value in _under("best/", found.tensors).items()
        }
        self.optimizers.restore(_under("optimizer/", found.tensors), found.state["optimizer"])
        self.averages.restore(_under("mean/", found.tensors), found.state["averaged"])
        self.curve, self.best_entry = found.state["curve"], found.state["best"]
        self.step = self.resumed_from = found.step
        if found.state["threads"] != self.device.threads:
            self.device = replace(self.device, threads=found.state["threads"])
            torch.set_num_threads(self.device.threads)
            self.job.progress.say("as many threads as before", threads=self.device.threads)
        self.job.progress.say("training resumes", step=found.step)
        if self.plan.stopped:
            self.plan.change(found.step, "slower")
            self.job.progress.say("training had diverged; it goes on at half the learning rate")

    def _story(self, seconds: float) -> dict[str, Any]:
        return {
            "recipe": self.pipeline.told,
            "steps": self.step,
            "epochs": round(self.step / self.steps_per_epoch, 3),
            "batch_size": self.batch,
            "accumulate": self.accumulate,
            "seconds": round(seconds, 3),
            "curve": self.curve,
            "best": self.best_entry,
            "judged": self.validation.judged,
            "plan": [decision.model_dump() for decision in self.plan.decisions],
            "adjusted": [each.model_dump(exclude_none=True) for each in self.plan.changes],
            "learning_rate": self.pipeline.lr * self.plan.rate(self.step),
            "attempts": self.plan.attempt + 1,
            "device": self.device.name,
            "precision": str(self.device.autocast or torch.float32).removeprefix("torch."),
            "threads": self.device.threads,
            "resumed_from": self.resumed_from,
            "augmentation": self.shown,
        }


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
