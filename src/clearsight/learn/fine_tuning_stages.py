"""Decides which layers of a pre-trained model learn, by the time that a step of them takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clearsight.core.files import read_json, write_json
from clearsight.learn.family import Job
from clearsight.learn.networks.cut import Cut, find_cuts, upper_part
from clearsight.learn.networks.timm_network import TimmNetwork
from clearsight.learn.trainers._device import choose_device
from clearsight.learn.trainers.recipe import Recipe
from clearsight.learn.training import Choice

Layers = Literal["head", "last", "most", "all"]

WHOLE_PASSES, MOST_PASSES, LAST_PASSES = 8, 1.2, 8
"""With fewer passes over the pictures, training all, most, or the last layers is not worth it."""
FROZEN_SHARE = 0.03
"""Of the model's numbers: so few may stand in the lowest layers that are left as they are."""
TRAINING_SHARE = 0.75
"""Part of the time left that training may plan with; the rest is scoring and blending."""
VIEWS = 10
"""Changed copies of every picture whose maps are kept when the last layers are trained."""
VIEWS_SHARE = 0.3
"""Part of the time left that computing these maps may take."""
MAPS_BYTES = 2 * 1024**3
LAST_SHARE, LEAST_SHARE = 0.4, 0.02
"""Part of the model's multiplications that the last layers are, where they are asked for; and
below which nothing but the head is left to train."""
TIMED_PICTURES = 8


@dataclass(frozen=True)
class Head:
    """A head fitted to frozen features before anything else learns.

    Args:
        accuracy: on validation.
        seconds_a_picture: that the engine took for the backbone.
    """

    accuracy: float
    seconds_a_picture: float


@dataclass(frozen=True)
class Stage:
    """Which layers learn.

    Args:
        layers: "head", "last", "most" (all but the lowest) or "all".
        reason: one sentence for the story.
        cut: where the layers that learn begin; None with "head" and "all".
        views: changed copies of every picture, the plain one among them.
    """

    layers: Layers
    reason: str
    cut: Cut | None = None
    views: int = 1


def choose_stage(
    network: TimmNetwork, job: Job, layers: str, head: Head | None, recipe: Recipe
) -> Stage:
    """Return which layers learn: what was asked for, else as many as the time allows.

    The decision is noted in `job.work`, so that a resumed training decides the same.

    Args:
        network: its step is timed.
        job: gives the time left.
        layers: "auto", "head", "last", "most" or "all".
        head: from `start_head`.
        recipe: its augmentation makes the views of each picture; without, one is enough.
    """
    told = noted(
        job,
        "stage",
        lambda: asdict(_stage(network, job, layers, head, bool(changes_of(job, recipe)))),
    )
    cut = told["cut"]
    found = cut and Cut(tuple(cut["below"]), tuple(cut["shape"]), cut["share"])
    return Stage(told["layers"], told["reason"], found or None, told["views"])


def noted(job: Job, name: str, decide: Callable[[], Any]) -> Any:
    """Return what was decided before, or decide and note it: the clock must not decide twice."""
    note = job.work / f"{name}.json"
    if note.exists():
        return read_json(note)
    decided = decide()
    job.work.mkdir(parents=True, exist_ok=True)
    write_json(note, decided)
    return decided


def _stage(network: TimmNetwork, job: Job, layers: str, head: Head | None, changes: bool) -> Stage:
    if layers == "head":
        return Stage("head", "asked for")
    if layers == "all":
        return Stage("all", "asked for")
    if layers == "auto" and job.budget.deadline is None:
        return Stage("all", "the time is not limited")
    cuts = find_cuts(network.model.eval(), job.preprocessing.height)
    low_cut = _lowest(network.model, cuts)
    if layers == "most":
        nowhere = "asked for, but the model cannot be cut there: all layers learn"
        return Stage("most", "asked for" if low_cut else nowhere, low_cut)
    step_s = seconds_a_picture(network, job.train_images[:TIMED_PICTURES])
    passes = _passes(job, step_s)
    if layers == "auto" and passes >= WHOLE_PASSES:
        return Stage("all", f"time for about {passes:.0f} passes through all layers")
    if layers == "auto" and low_cut is not None:
        with frozen(network.model, low_cut):
            passes = _passes(job, seconds_a_picture(network, job.train_images[:TIMED_PICTURES]))
        if passes >= MOST_PASSES:
            reason = f"time for about {passes:.1f} passes through the layers after "
            return Stage("most", reason + low_cut.below[-1], low_cut)
    least = 0.0 if layers == "last" else LAST_PASSES
    largest = LAST_SHARE if layers == "last" else 1.0
    cuts = [cut for cut in cuts if LEAST_SHARE <= cut.share <= largest]
    engine_s = head.seconds_a_picture if head else step_s / 3
    found, low, high = None, 0, len(cuts)
    while low < high:  # the lower the cut, the longer a pass
        middle = (low + high) // 2
        stage = _last_layers(network, job, cuts[middle], engine_s, VIEWS if changes else 1, least)
        if stage is None:
            low = middle + 1
        else:
            found, high = stage, middle
    reason = "too little time for more than the head, or nowhere to cut the model"
    return found or Stage("head", reason)


def _passes(job: Job, step_s: float) -> float:
    left_s = min(job.budget.remaining_s(), 1e9)
    return TRAINING_SHARE * left_s / (len(job.train_labels) * step_s)


def _lowest(model: nn.Module, cuts: Sequence[Cut]) -> Cut | None:
    """Return the last cut below which hardly any of the model's numbers stand.

    These layers work on the largest maps: they take much of the time and adapt little.
    """
    most = FROZEN_SHARE * sum(weight.numel() for weight in model.parameters())
    low = [cut for cut in cuts if sum(w.numel() for w in _below(model, cut)) <= most]
    return low[-1] if low else None


def _below(model: nn.Module, cut: Cut) -> list[nn.Parameter]:
    return [weight for name in cut.below for weight in model.get_submodule(name).parameters()]


@contextmanager
def frozen(model: nn.Module, cut: Cut | None) -> Iterator[None]:
    """Keep the layers below a cut from learning inside the block; None keeps none."""
    weights = [] if cut is None else _below(model, cut)
    learning = [weight for weight in weights if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


def _last_layers(
    network: TimmNetwork, job: Job, cut: Cut, engine_s: float, views: int, least: float
) -> Stage | None:
    """Plan training the layers above a cut; None where fewer than `least` passes fit the time."""
    n, left_s = len(job.train_labels), min(job.budget.remaining_s(), 1e9)
    views = min(views, MAPS_BYTES // (n * 2 * int(np.prod(cut.shape))))
    views = min(views, int(VIEWS_SHARE * left_s / (n * engine_s)))
    upper = upper_part(network.model, cut, job.preprocessing.height) if views >= 1 else None
    if upper is None:
        return None
    channels, height, width = cut.shape
    maps = np.zeros((TIMED_PICTURES, height, width, channels), np.float32)
    pass_s = n * seconds_a_picture(top_network(upper), maps)
    passes = (TRAINING_SHARE * left_s - views * n * engine_s) / pass_s
    if passes < least:
        return None
    reason = f"time for about {passes:.0f} passes through the layers after {cut.below[-1]}"
    return Stage("last", reason, cut, views)


def top_network(upper: nn.Module) -> TimmNetwork:
    """Return the layers above a cut as a network that takes maps for pixels."""
    return TimmNetwork(upper, (0.0,), (1.0,), frozen_norms=True)


def seconds_a_picture(network: TimmNetwork, images_nhwc: NDArray[Any]) -> float:
    """Time one training step of all layers on a few pictures; nothing is changed by it."""
    images = torch.from_numpy(np.array(images_nhwc))
    device = choose_device()
    device.place(network)
    network.train()
    with torch.random.fork_rng():
        for _ in range(2):
            began = time.monotonic()
            with device.precision():
                total = network(device.pixels(images)).sum()
            total.backward()
            float(total.detach())  # waits for a GPU
    each_s = (time.monotonic() - began) / len(images)
    network.zero_grad(set_to_none=True)
    network.to("cpu").eval()
    return each_s


def changes_of(job: Job, recipe: Recipe) -> list[Choice]:
    """How training pictures are changed: as the user decided, else as the recipe says."""
    chosen = recipe.augment if job.training.augment is None else job.training.augment
    return [Choice.of(each) if isinstance(each, str) else each for each in chosen]
