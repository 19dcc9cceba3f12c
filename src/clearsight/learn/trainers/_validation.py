"""Scores on the validation part, bounded in cost, and which weights are best."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clearsight.core.nouns import ImagesNHWC, Scores
from clearsight.core.seeds import generator
from clearsight.learn.family import Job
from clearsight.learn.hardening import Hardening
from clearsight.learn.trainers._device import Device, choose_device, full_precision
from clearsight.learn.trainers._hardened import Trial, cost, log_loss
from clearsight.learn.trainers._memory import out_of_memory
from clearsight.learn.trainers._plan import Plan

LIMIT = 2500
COST = 0.03  # part of the training time that validation may take
SHARE = 0.04  # part of the time left at the start that one scoring may take, and the caller's
FEWEST = 100
BATCH_PIXELS, LEAST_BATCH = 2**21, 16  # larger batches fall out of the caches: slower, not faster
TRIAL_PART = 5  # of the sample: one picture of so many is made harder too
FEWEST_HARDER = 20  # where time is short; `FEWEST` otherwise
FORWARD = 0.5  # a picture's forward passes relative to a training step's share, generously


class Validation:
    """A fixed sample of the validation part.

    Args:
        job: the job; its validation part may be empty.
        device: where the network stands.
        plan: tells how many pictures there is time for, once that is known.
        batch: training batch size.
        steps_per_epoch: optimizer steps a pass.
        more: pictures that go through the network beside the sample whenever it is scored.
        hardening: what the network is to hold against; part of the sample is made harder by it.
    """

    def __init__(
        self,
        job: Job,
        device: Device,
        plan: Plan,
        batch: int,
        steps_per_epoch: int,
        more: int = 0,
        hardening: Hardening | None = None,
    ) -> None:
        self._order = generator(job.seed, "validation").permutation(len(job.val_labels))[:LIMIT]
        self._job, self._device, self._plan = job, device, plan
        self._batch, self._steps_per_epoch, self._more = batch, steps_per_epoch, more
        self._trial = None if hardening is None else Trial(hardening, job, device)
        self._forward = FORWARD / cost(hardening)  # a plain pass, in parts of a step's share
        self._seconds = self._more_s = 0.0
        self._whole_s = job.budget.remaining_s()
        self._take(plan.sample or LIMIT)

    def _take(self, pictures: int) -> None:
        self._numbers = np.sort(self._order[:pictures])
        self.n = len(self._numbers)
        fewest = FEWEST if self._plan.sample is None else FEWEST_HARDER
        self._harder = np.sort(self._order[: max(fewest, pictures // TRIAL_PART)])
        steps = (self.n + self._more + self._trial_pictures) * self._forward / self._batch
        passes = max(1, math.ceil(steps / COST / self._steps_per_epoch))
        self.every = passes * self._steps_per_epoch

    def spare(self, step: int, step_s: float) -> None:
        """Take fewer pictures, once, where scoring them would take too much of the time."""
        if self._plan.sample is not None or math.isinf(self._whole_s):
            return
        harder = 0.0 if self._trial is None else self._trial.forwards / TRIAL_PART
        picture_s = (1 + harder) * self._forward * step_s / self._batch
        fits = int(SHARE * self._whole_s / picture_s)
        if fits < self.n:
            pictures = min(self.n, max(FEWEST, fits))
            self._plan.change(step, "sample", pictures)
            self._take(pictures)

    def due(self, step: int, total: int) -> bool:
        """Whether to score after `step`; a pure function, so a resumed run scores alike."""
        return self.n > 0 and (step == total or step % self.every == 0)

    def seconds_for(self, step_s: float, batch: int) -> float:
        """Return what is left to do after the last step: this sample's scoring and the caller's.

        The caller scores the whole validation part once, or what a share of the time allows. From
        the last scoring's time, else a guess from a step's.
        """
        picture_s = self._forward * step_s / batch
        sample_s = self._seconds or self.n * picture_s
        more_s = self._more_s or self._trial_pictures * picture_s
        callers_s = sample_s * len(self._job.val_labels) / max(1, self.n)
        return more_s + sample_s + min(callers_s, SHARE * self._whole_s)

    def took(self, seconds: float) -> None:
        """Note what the last scoring took with all that belongs to it."""
        self._more_s = max(0.0, seconds - self._seconds)

    @property
    def judged(self) -> int:
        """How many pictures decide which weights are kept."""
        return self.n if self._trial is None else len(self._harder)

    @property
    def _trial_pictures(self) -> int:
        """What the trial costs, in pictures that go through the network once."""
        return 0 if self._trial is None else self._trial.forwards * len(self._harder)

    def score(self, network: nn.Module) -> dict[str, float]:
        """Return val_accuracy and val_loss (cross-entropy); hardened_* of the harder pictures."""
        started = time.monotonic()
        logits = network_logits(network, self._job.val_images, self._device, self._numbers)
        labels = torch.from_numpy(np.ascontiguousarray(self._job.val_labels[self._numbers]))
        scores = torch.from_numpy(logits)
        self._seconds = time.monotonic() - started
        told = _told("val", scores, labels)
        if self._trial is not None:
            told |= _told("hardened", *self._trial.score(network, self._harder))
        return told


def _told(name: str, scores: Tensor, labels: Tensor) -> dict[str, float]:
    accuracy, loss = _accuracy_and_loss(scores, labels)
    return {f"{name}_accuracy": round(accuracy, 6), f"{name}_loss": round(loss, 6)}


def _accuracy_and_loss(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the share of right answers and the log-loss; several labels count one by one."""
    right = (scores > 0) == (labels > 0) if labels.ndim == 2 else scores.argmax(1) == labels
    return float(right.float().mean()), float(log_loss(scores, labels))


def network_logits(
    network: nn.Module,
    images_nhwc: ImagesNHWC,
    device: Device,
    numbers: np.ndarray[Any, Any] | None = None,
    batch: int = 500,
) -> Scores:
    """Return float32 (n, classes) scores of a network for uint8 pictures.

    Args:
        network: takes float32 (n, c, h, w) pixels in [0, 255].
        images_nhwc: uint8 (n, h, w, c).
        device: where the network stands.
        numbers: which pictures, or None for all.
        batch: pictures a pass.
    """
    numbers = np.arange(len(images_nhwc)) if numbers is None else numbers
    batch = max(LEAST_BATCH, min(batch, BATCH_PIXELS // max(1, images_nhwc[0].size)))
    network.eval()
    parts: list[Tensor] = []
    done = 0
    with torch.inference_mode():
        while done < len(numbers):
            images = torch.from_numpy(images_nhwc[numbers[done : done + batch]])
            try:
                with device.precision():
                    logits = network(device.pixels(images))
            except (RuntimeError, MemoryError) as error:
                if batch == 1 or not out_of_memory(error):
                    raise
                batch //= 2
                continue
            parts.append(logits.float().cpu())
            done += len(images)
    if not parts:
        raise ValueError("no pictures to score")
    return np.asarray(torch.cat(parts).numpy(), np.float32)


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


def worth(entry: Mapping[str, float]) -> float:
    """Return what weights are judged by: accuracy, with hardening its mean with the hardened one.

    Source:
        Judging by accuracy under attack: Rice et al., Overfitting in Adversarially Robust Deep
        Learning (2020), section 3.

    Example:
        >>> worth({"val_accuracy": 0.9}), worth({"val_accuracy": 0.9, "hardened_accuracy": 0.5})
        (0.9, 0.7)
    """
    clean = entry["val_accuracy"]
    return (clean + entry["hardened_accuracy"]) / 2 if "hardened_accuracy" in entry else clean


def regret(entry: Mapping[str, float]) -> float:
    """Return the loss that a plateau is seen by; with hardening its mean with the hardened one."""
    clean = entry["val_loss"]
    return (clean + entry["hardened_loss"]) / 2 if "hardened_loss" in entry else clean


def worth_keeping(accuracy: float, earlier: Sequence[float], n: int) -> bool:
    """Whether the newest weights replace those kept.

    Later weights are annealed further, so they are kept unless they are worse than the best ever
    seen by more than one standard error of the accuracy on `n` pictures.

    Source:
        The one-standard-error rule: Hastie, Tibshirani, Friedman, The Elements of Statistical
        Learning (2009), section 7.10.

    Example:
        >>> worth_keeping(0.89, [0.80, 0.90], n=100), worth_keeping(0.85, [0.80, 0.90], n=100)
        (True, False)
    """
    top = max(earlier, default=0.0)
    slack = math.sqrt(max(top * (1 - top), 1e-9) / max(n, 1))
    return accuracy >= top - slack


def flat(losses: Sequence[float], window: int) -> bool:
    """Whether the last `window` losses brought nothing below those before.

    Example:
        >>> flat([1.0, 0.5, 0.6, 0.5], 2), flat([1.0, 0.5, 0.6, 0.4], 2)
        (True, False)
    """
    return len(losses) > window and min(losses[-window:]) >= min(losses[:-window])
